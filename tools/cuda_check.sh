#!/usr/bin/env bash
# Builds the wheel with its CUDA parts for every architecture, installs it into a fresh environment where no source is in
# sight, imports it, and runs it inside the published pamiq_core. Then runs the tests of whatever works on a device, on
# cuda tensors over the double of CUDA's runtime. Needs no GPU.
#   cuda_check.sh ["torch==X"]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

torch=${1:-torch==2.13.0}
core=pamiq-core==0.6.0
venv=.venv-cuda
py=$PWD/$venv/bin/python

is_python312() { [[ -n $1 && $("$1" -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null) == '3 12' ]]; }

find_python312() {
  local candidate
  {
    command -v python3.12 python3 || true
    if command -v pyenv >/dev/null; then printf '%s\n' "$(pyenv root)"/versions/3.12*/bin/python; fi
    if command -v uv >/dev/null; then uv python find 3.12 2>/dev/null || true; fi
  } | while read -r candidate; do
    if is_python312 "$candidate"; then
      echo "$candidate"
      break
    fi
  done
}

if [[ ! -x $py ]]; then
  python=$(find_python312)
  if [[ -z $python ]]; then
    echo 'cuda-check: no Python 3.12 was found (looked for python3.12, pyenv and uv), so the CUDA build is NOT proven.' >&2
    exit 1
  fi
  "$python" tools/preflight.py
  "$python" -m venv "$venv"
fi

export PATH=$PWD/$venv/bin:$PATH  # one ninja for all that follows: the log of another version means building anew

install() { "$py" -m pip --disable-pip-version-check install --quiet "$@"; }

if [[ ! -e $venv/torch-is-there ]]; then
  echo "cuda-check: installing $torch, several GB"
  install "$torch" 'setuptools>=77' ninja numpy
  touch "$venv/torch-is-there"
fi
cuda=$("$py" -c 'import torch; print(torch.version.cuda or "")')
if [[ -z $cuda ]]; then
  echo "cuda-check: $torch is a build without CUDA on this machine, so the CUDA build is NOT proven." >&2
  exit 1
fi

export STORM_CUDA=1
if ! "$py" tools/build_support.py 2>/dev/null; then
  echo "cuda-check: no toolkit for CUDA $cuda is at hand, installing one"
  install "cuda-toolkit[nvcc,cccl]==$cuda.*"
fi

rm -rf build/wheel
"$py" -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps --wheel-dir build/wheel .

# A fresh environment that shares only what is other people's.
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
"$py" -m venv --without-pip "$elsewhere/venv"
fresh=$elsewhere/venv/bin/python
"$py" -m pip --disable-pip-version-check --python "$fresh" install --quiet --no-deps build/wheel/*.whl
site() { "$1" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'; }
site "$py" >"$(site "$fresh")/torch.pth"
install "$core" -r <("$py" tools/extras.py test demo)
install --no-deps -r <("$py" tools/extras.py peers)

architectures=$("$py" tools/build_support.py --architectures)
cp tools/fatbin.py tests/pamiq_core/test_integration.py "$elsewhere"
(
  cd "$elsewhere"
  "$fresh" fatbin.py "$architectures" "$(site "$fresh")"/pamiq_storm/_C.*.so
  "$fresh" -m pamiq_storm info
  "$fresh" -m pytest -q -ra -p no:cacheprovider test_integration.py
)

# On cuda tensors: a double of the runtime, without a GPU or a driver, and CPU kernels in the place of CUDA's.
"$py" setup.py --quiet build_ext --inplace
STORM_SCHEDULES=200 "$py" -m tests.cuda_double "$py" -m pytest -q -n 2 --dist worksteal \
  tests/cuda_double tests/codec tests/engine tests/semantics tests/nn tests/torch tests/live tests/demo tests/hunt

# What `make gpu` does on a machine with a GPU, from its first step to its page.
"$py" -m pytest -q tests/gpu/test_dry_run.py
