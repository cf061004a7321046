"""The command line: its flags, how they are read, and what each mode does."""
