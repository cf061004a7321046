"""What each code calls its arrays and how it lays them out, brought to the official code's names and back."""
