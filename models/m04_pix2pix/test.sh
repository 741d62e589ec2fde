#!/bin/sh
# Translate the held-out cats by the training in runs/pix2pix, and write runs/pix2pix_test/index.html:
#     ./test.sh
#     ./test.sh --input_dir pairs --checkpoint runs/mine --output_dir runs/mine_test
cd "$(dirname "$0")" || exit
exec python pix2pix.py --mode test "$@"
