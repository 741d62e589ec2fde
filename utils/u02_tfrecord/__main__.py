"""`python -m utils.u02_tfrecord` says what there is."""

from utils import u02_tfrecord

print(u02_tfrecord.__doc__)
