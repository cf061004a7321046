"""Training pictures: sources -> decoded squares -> batches in an order that is a function of (seed, nimg).

pictures   one picture file to a square of uint8 pixels
stores     the pictures of a folder or .zip, by name
sources    faces, digits, folder or .zip behind one record of functions
dataset    the split, the order, batches: `dataset.open_dataset`
prefetch   batches prepared ahead by a thread
"""
