#!/usr/bin/env bash
# aarch64_root.sh FOLDER [RUNTIME NUMPY]: a Debian userland for arm64 with Python and a TFLite runtime, for QEMU.
# Needs Debian's apt-get, dpkg-deb and pip; no root rights. About 10 s and 150 MB. Then:
#     export SPRUE_AARCH64_ROOT=FOLDER
# RUNTIME NUMPY: `ai-edge-litert==1.4.0 numpy==2.2.6` (the default), or `tflite-runtime==2.14.0 numpy==1.26.4`.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,5p' "$0"; exit 2; }
root="$(realpath -m "$1")"
runtime="${2:-ai-edge-litert==1.4.0}"
numpy="${3:-numpy==2.2.6}"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,packages}
: >"$work/status"
options=(
    -q -o "Dir::State=$work/state" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
    -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "APT::Sandbox::User=$(id -un)"
)
apt-get "${options[@]}" update >/dev/null
python="$(apt-cache "${options[@]}" depends python3-minimal | grep -o 'python3\.[0-9]*' | head -n 1)"
(
    cd "$work/packages"
    apt-get "${options[@]}" download libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libbz2-1.0 liblzma5 \
        libuuid1 "$python-minimal" "lib$python-minimal" "lib$python-stdlib" >/dev/null
)
mkdir -p "$root"
for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$root"
done

tags=(manylinux2014_aarch64 manylinux_2_17_aarch64 manylinux_2_27_aarch64 manylinux_2_28_aarch64 manylinux_2_34_aarch64)
python3 -m pip download -q --no-deps --only-binary=:all: --implementation cp --python-version "${python#python}" \
    "${tags[@]/#/--platform=}" -d "$work/wheels" "$runtime" "$numpy"
packages="$root/usr/lib/python3/dist-packages"
mkdir -p "$packages"
for wheel in "$work"/wheels/*.whl; do
    python3 -m zipfile -e "$wheel" "$packages"
done
echo "export SPRUE_AARCH64_ROOT=$root"
