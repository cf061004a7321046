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
records    the encoded pictures of a store
labels     classes from folders, tables and one-hot rows
remote     copies of what lies at gs:// or s3://
sources    opens what data.source names: `sources.open_source`
rows       pieces of files, read by their places
decode     a picture of any format, mode and depth to Pillow's image
square     an image to a square of uint8 pixels; the box mean
survey     each picture of a source as a square, or the reason why it is left out
images     the squares of a source, from memory, storage or decoding: `images.open_images`
prepare    makes a store: `prepare.make_store`
workers    the processes that do it, and what each shard is a function of
shards     writes one shard of a store
verification  whether a store has what was prepared
inspection what a source has in it: `inspection.inspect`
dataset    the split, the order, batches: `dataset.open_dataset`
prefetch   batches prepared ahead by a thread
waiting    waits for pictures that end when none comes
"""
