#!/bin/sh
# Train on the cats (made by `make data` in the repository), or on the folder of pairs that is named:
#     ./train.sh
#     ./train.sh --input_dir pairs --output_dir runs/mine
cd "$(dirname "$0")" || exit
exec python pix2pix.py --mode train "$@"
