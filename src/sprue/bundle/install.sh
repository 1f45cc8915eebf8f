#!/bin/sh
# sprue-archive/1. Installs the bundle that lies beside this file, after sha256sum has proven every file of it.
#   sh install.sh FOLDER [ID]
# FOLDER must not exist yet. ID is the bundle's id as its publisher told you, by another way than this archive.
set -eu
unset CDPATH
bundle='@BUNDLE@'
id='@ID@'
sums='@SUMS@'
files=@FILES@

fail() {
    printf 'install.sh: %s; nothing was installed\n' "$1" >&2
    exit 1
}

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ -z "$1" ]; then
    printf 'usage: sh install.sh FOLDER [ID]\n' >&2
    exit 2
fi
[ "${2-$id}" = "$id" ] || fail "this is $bundle with the id $id, not $2"
command -v sha256sum >/dev/null || fail "sha256sum is missing"
here=$(cd -- "$(dirname -- "$0")" && pwd -P)
target=$1
while [ "$target" != / ] && [ "${target%/}" != "$target" ]; do target=${target%/}; done
case $target in /*) ;; *) target=./$target ;; esac
if [ -e "$target" ] || [ -L "$target" ]; then fail "$target is there already"; fi

# The copy is what is proven, not the source: what is checked is what is installed.
stage=$target.installing.$$
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$stage" || fail "$stage cannot be made"
cp -R -P "$here/bundle/." "$stage" || fail "the bundle cannot be copied"
(
    cd "$stage"
    [ -z "$(find . ! -type f ! -type d)" ] || fail "the bundle holds something that is not a plain file"
    printf '%s  %s\n' "$sums" SHA256SUMS "$id" manifest.json | sha256sum -c >/dev/null 2>&1 ||
        fail "SHA256SUMS or manifest.json is damaged"
    wrong=$(LC_ALL=C sha256sum -c SHA256SUMS 2>&1) || {
        printf '%s\n' "$wrong" | grep -v ': OK$' >&2 || :
        fail "the bundle is damaged"
    }
    [ "$(find . -type f | wc -l)" -eq "$files" ] || fail "the bundle holds files that its manifest does not name"
) || exit 1
mv "$stage" "$target"
printf 'installed %s in %s\nid %s\n' "$bundle" "$target" "$id"
