#!/usr/bin/env bash
# Everything a change must pass.
#   scripts/check.sh            format, lint, types, C++ warnings, the stub, tests, documentation
#   scripts/check.sh sanitize   the engine's tests under address and undefined-behaviour sanitizers
# Needs an environment with `pip install -c constraints.txt -e '.[dev]'` and a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

# Prints the name of a part that begins, and how long the one before took.
step() {
  took
  part=$* began=$SECONDS
  printf '\n== %s\n' "$*"
}
took() { [ -z "${part:-}" ] || printf -- '-- %s: %d s\n' "$part" $((SECONDS - began)); }
trap took EXIT

# Builds the engine by itself, with all warnings and both sanitizers.
build_engine() {
  cmake -S . -B build/sanitize -G Ninja -DCMAKE_BUILD_TYPE= -DXFLOWRL_WERROR=ON -DXFLOWRL_SANITIZE=ON \
    -DPython_EXECUTABLE="$(command -v python)" >build/sanitize.log 2>&1 &&
    cmake --build build/sanitize >>build/sanitize.log 2>&1 || {
    tail -60 build/sanitize.log
    return 1
  }
}

# Runs a command that imports that engine. Leaks are not looked for: Python itself keeps what it
# allocates. libstdc++ is preloaded too, or the sanitizer does not see exceptions thrown through it.
sanitized() {
  LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 XFLOWRL_SANITIZED=1 "$@"
}

everything() {
  step "format: Python and C++"
  ruff format --check .
  git ls-files 'xflowrl/csrc/*.cc' 'xflowrl/csrc/*.h' | xargs clang-format --dry-run -Werror
  step "lint"
  ruff check .
  step "C++ without warnings"
  build_engine
  step "stub of the engine is up to date"
  sanitized python -m nanobind.stubgen -q -m _engine -i build/sanitize -o build/sanitize/_engine.pyi
  diff -u xflowrl/_engine.pyi build/sanitize/_engine.pyi
  step "types"
  mypy
  step "tests"
  python -m pytest -q -n auto --ignore=tests/docs "$@"
  step "documentation"
  python -m pytest -q -n auto tests/docs
}

sanitize() {
  step "engine with sanitizers"
  build_engine
  # A package of its own around the sanitized module. Python runs without site (-S): the
  # installed package's import hook would go before PYTHONPATH.
  local package=build/sanitize/python
  rm -rf "$package"
  mkdir -p "$package/xflowrl"
  for source in xflowrl/*; do
    case $source in *_engine*.so | *__pycache__) ;; *) ln -s "$PWD/$source" "$package/xflowrl/" ;; esac
  done
  ln -s "$PWD/conf" "$package/xflowrl/conf"
  ln -s "$PWD"/build/sanitize/_engine*.so "$package/xflowrl/"
  local site python
  site=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  python=("$(command -v python)" -P -S)
  PYTHONPATH="$PWD/$package:$site" sanitized "${python[@]}" -m pytest -q -p no:cacheprovider \
    --tx "$(nproc)*popen//python=${python[*]}" --dist worksteal \
    --capture=sys tests/engine "$@" # pytest would swallow the report of a process that is aborted
}

mkdir -p build
if [ "${1:-}" = sanitize ]; then
  shift
  sanitize "$@"
else
  everything "$@"
fi
