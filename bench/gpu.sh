#!/bin/sh
# bench/gpu.sh              on a machine with a GPU, without a network: builds the package into runs/gpu/site with the
#                           machine's own torch, measures (bench/gpu.py), prints a table; the figures go to runs/gpu/gpu.json
# bench/gpu.sh PART...      some parts: correctness eager optimizers generation stall compiled
# bench/gpu.sh --fetch      before that, where there is a network: wheels of what a PyTorch image may lack, into runs/gpu/wheels,
#                           for Python $PYTHON_VERSION (3.12); take the folder along with the working tree
# bench/gpu.sh --rehearse   all parts on the CPU with tiny sizes, with the package as it is installed
# PYTHON names the interpreter that has torch (python3).
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
FOLDER=runs/gpu
# What the package needs besides torch, lightning and transformers, and what builds it, as in pyproject.toml.
NEEDED="attrs>=24.1 blake3>=1 cattrs>=24.1 click>=8.2 huggingface_hub>=1.0 numpy>=2.0 pillow>=10.1 pluggy>=1.5 pyarrow>=18
  PyYAML>=6.0 rich>=13 xxhash>=3.4"
BUILDING="pybind11>=3.1 scikit-build-core>=1.1 pathspec>=0.10"
# Too large to take along, and in every image with torch, lightning and transformers, pyarrow apart.
LARGE="numpy pyarrow pillow huggingface_hub"

case "${1:-}" in
--fetch)
  small=""
  for name in $NEEDED $BUILDING; do
    case " $LARGE " in *" ${name%%>=*} "*) ;; *) small="$small $name" ;; esac
  done
  # shellcheck disable=SC2086
  exec "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --dest "$FOLDER/wheels" --constraint constraints.txt \
    --implementation cp --python-version "${PYTHON_VERSION:-3.12}" --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 $small
  ;;
--rehearse)
  exec "$PYTHON" -m bench.gpu "$@"
  ;;
esac

mkdir -p "$FOLDER"
missing=$("$PYTHON" - $NEEDED $BUILDING <<'PROGRAM'
import sys
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

for needed in map(Requirement, sys.argv[1:]):
    try:
        is_there = version(needed.name) in needed.specifier
    except PackageNotFoundError:
        is_there = False
    if not is_there:
        print(needed)
PROGRAM
)
rm -rf "$FOLDER/site"
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086
  "$PYTHON" -m pip install --quiet --no-index --no-deps --find-links "$FOLDER/wheels" --target "$FOLDER/site" $missing || {
    echo "Error: $PYTHON lacks" $missing "and $FOLDER/wheels does not have all of them. Run 'bench/gpu.sh --fetch' where there is a network, and take $FOLDER/wheels along." >&2
    exit 2
  }
fi
export PYTHONPATH="$PWD/$FOLDER/site"
"$PYTHON" -m pip install --quiet --no-index --no-deps --no-build-isolation --target "$FOLDER/site" .
# The source tree comes last: its midigpt_core has no native modules.
export PYTHONSAFEPATH=1 PYTHONPATH="$PYTHONPATH:$PWD"
exec "$PYTHON" -m bench.gpu "$@"
