"""Training pictures: sources -> squares -> batches in an order that is a function of (seed, nimg).

source     one interface: the pictures that someone has, each read by its number
listing    which files are pictures, which are labels of these, and which are others
folder     files in folders
archives   files in a .zip or in .tar
lmdb       LSUN's lmdb
parquet    rows of .parquet
arrays     rows of .h5, .npy and .npz
tfrecords  official TFRecords, without TensorFlow
builders   data sets of tensorflow-datasets
store      a store made by `prepare`
labels     classes from folders, tables and one-hot rows
remote     copies of what lies at gs:// or s3://
sources    opens what data.source names: `sources.open_source`
pictures   one picture of any kind to a square of uint8 pixels
images     the squares of a source, from memory, storage or decoding: `images.open_images`
shards     writes a store, piece by piece
dataset    the split, the order, batches: `dataset.open_dataset`
prefetch   batches prepared ahead by a thread
"""
