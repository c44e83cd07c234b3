#!/usr/bin/env bash
# Plants defects in copies of a good archive and sees that the scripts of this folder name each one.
#
#   selftest.sh ARCHIVE       a valid archive with its ARCHIVE.sha256; neither is changed
#
# Runs in a scratch folder, without network. Needs gcc (for a library that is then missing).
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C

if (($# != 1)) || [[ ! -f $1.sha256 ]]; then
    echo "usage: selftest.sh ARCHIVE, with ARCHIVE.sha256 beside it" >&2
    exit 2
fi
good=$(realpath -- "$1") name=$(basename -- "$1")
[[ $name =~ ^cpython-([0-9]+\.[0-9]+)\.([0-9]+)- ]] || exit 2
short=${BASH_REMATCH[1]} version=${BASH_REMATCH[1]}.${BASH_REMATCH[2]}

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cd -- "$work"
tests=0 failed=0

# expect CODE TEXTS COMMAND…: the command exits with CODE and prints every line of TEXTS somewhere.
expect() {
    local code=$1 texts=$2 rc=0 text
    shift 2
    tests=$((tests + 1))
    "$@" >output 2>&1 </dev/null || rc=$?
    if ((rc != code)); then
        echo "FAIL ${*/#$here\//}: exit $rc instead of $code" >&2
        sed 's/^/    /' output >&2
        failed=$((failed + 1))
    fi
    while IFS= read -r text; do
        [[ -n $text ]] || continue
        grep -qF -- "$text" output && continue
        echo "FAIL ${*/#$here\//}: does not say \`$text\`" >&2
        sed 's/^/    /' output >&2
        failed=$((failed + 1))
    done <<<"$texts"
}

# holds CLAIM COMMAND…: the command succeeds.
holds() {
    local claim=$1
    shift
    tests=$((tests + 1))
    "$@" && return
    echo "FAIL $claim" >&2
    failed=$((failed + 1))
}

# sign FILE: writes its sidecar.
sign() { (cd -- "$(dirname -- "$1")" && sha256sum -- "$(basename -- "$1")" >"$(basename -- "$1").sha256"); }
# pack FOLDER: the tree in FOLDER as FOLDER/$name.
pack() { tar -C "$1" -cf - "${2:-python-$version}" | gzip -1 >"$1/$name" && sign "$1/$name"; }
# copy FOLDER: the good archive in a folder of its own.
copy() { mkdir "$1" && cp -- "$good" "$good.sha256" "$1"; }

# The validator: what it needs no unpacked tree for.
validate=$here/validate.sh
expect 2 usage "$validate"
expect 2 "is not cpython-X.Y.Z-DISTRO-buildN.tgz" "$validate" python.tgz
expect 2 "whole megabytes" "$validate" "$good" many
expect 1 "FAIL artifact: no such file" "$validate" "absent/$name"
expect 0 valid "$validate" "$good"
expect 1 "FAIL size: 
warning size: " "$validate" "$good" 9999 0
copy no-sidecar && rm "no-sidecar/$name.sha256"
expect 1 "FAIL sidecar: no such file" "$validate" "no-sidecar/$name"
copy other-sidecar && sed -i 's/cpython/python/' "other-sidecar/$name.sha256"
expect 1 "FAIL sidecar: not a SHA-256, two spaces and $name" "$validate" "other-sidecar/$name"
copy damaged && printf x >>"damaged/$name"
expect 1 "FAIL checksum: expected $(cut -d ' ' -f 1 "$good.sha256"), got " "$validate" "damaged/$name"
copy truncated && truncate -s -4096 "truncated/$name" && sign "truncated/$name"
expect 1 "FAIL extract: " "$validate" "truncated/$name"

# The validator: a tree with many defects, all of them named in one run.
mkdir tree && tar -xzf "$good" -C tree
root=tree/python-$version lib=tree/python-$version/lib/python$short
rm -r "$lib"/lib-dynload/{_ssl,_sqlite3,_lzma,_bz2,zlib,_ctypes}.*so "$lib/uuid.py" "$root/LICENSE"
sed -i 's/^build: .*/build: 77/' "$root/.build-info"
printf '#!/opt/python/bin/python\n' >"$root/bin/pydoc$short"
printf '#!/bin/sh\necho broken pip >&2; exit 1\n' >"$root/bin/pip$short"
sed -i "s|sys.base_prefix|'/opt/elsewhere'|" "$lib"/_sysconfigdata_*.py
echo 'int gone;' | gcc -x c -shared -fPIC -o libgone.so -
echo 'extern int gone; int *here = &gone;' | gcc -x c -shared -fPIC -o "$lib/lib-dynload/orphan.so" - -L. -lgone
pack tree
expect 1 "FAIL import: ssl: 
FAIL import: _ssl: 
FAIL import: sqlite3: 
FAIL import: uuid: 
FAIL import: lzma: 
FAIL import: bz2: 
FAIL import: zlib: 
FAIL import: _ctypes: 
FAIL license: no LICENSE
FAIL build-info: does not say \`build: 
FAIL shebang: bin/pydoc$short starts with #!/opt/python/bin/python
FAIL pip: bin/pip$short does not run: broken pip
FAIL relocation: sysconfig's prefix is /opt/elsewhere
FAIL libraries: lib/python$short/lib-dynload/orphan.so: libgone.so => not found
14 failed" "$validate" "tree/$name" 0

# The validator: what leaves nothing further to check.
rm -r tree/* && mkdir -p "$root/bin" && printf '#!/bin/sh\necho Python 3.0.0\n' >"$root/bin/python$short"
chmod +x "$root/bin/python$short" && pack tree
expect 1 "FAIL version: expected Python $version, got Python 3.0.0
warning build-info: " "$validate" "tree/$name" 0
printf '#!/bin/sh\necho no such library; exit 127\n' >"$root/bin/python$short" && pack tree
expect 1 "FAIL interpreter: does not start: no such library" "$validate" "tree/$name" 0
rm "$root/bin/python$short" && pack tree
expect 1 "FAIL interpreter: no bin/python$short" "$validate" "tree/$name" 0
mkdir -p tree/opt && mv -- "$root" tree/opt && pack tree opt
expect 1 "FAIL layout: \`opt/\` is not below python-$version/" "$validate" "tree/$name" 0
rm -r tree/* && mkdir -p "$root" && echo x >x && tar -czf "tree/$name" -P --transform "s|^x|python-$version/../x|" x
sign "tree/$name"
expect 1 "FAIL layout: \`python-$version/../x\` is not below" "$validate" "tree/$name" 0

# The installer: whole or not at all, and never over what is not ours.
install=$here/install.sh
expect 2 usage "$install"
expect 2 "the prefix cannot be /" "$install" "$good" /
expect 1 "does not have" "$install" --check "$good" "a prefix"
expect 0 "a prefix: Python $version" "$install" "$good" "a prefix"
expect 0 "has Python $version already" "$install" "$good" "a prefix"
expect 0 "" "$install" --check "$good" "a prefix"
expect 0 "pip " "a prefix/bin/pip$short" --version
expect 1 "wrong checksum of $name: expected" "$install" "damaged/$name" other
expect 1 "cannot unpack $name" "$install" "truncated/$name" other
holds "a failed installation leaves nothing" test ! -e other
mkdir foreign && echo mine >foreign/file
expect 1 "was not installed by this script" "$install" "$good" foreign
holds "a foreign folder is untouched" grep -q mine foreign/file
mkdir -p "$root/bin" && printf '#!/bin/sh\nexit 1\n' >"$root/bin/python$short" && chmod +x "$root/bin/python$short" && pack tree
expect 1 "does not work on this machine" "$install" "tree/$name" "a prefix"
expect 0 "" "$install" --check "$good" "a prefix"
rm "a prefix/lib/python$short/ssl.py"
expect 1 "does not have" "$install" --check "$good" "a prefix"
expect 0 "a prefix: Python $version" "$install" "$good" "a prefix"
holds "nothing is left beside a prefix" test -z "$(find . -maxdepth 1 -name '*.new.*')"

# The table of artifacts.
expect 2 usage "$here/list.sh"
cp "damaged/$name" "no-sidecar/$name" && expect 0 "no checksum" "$here/list.sh" no-sidecar
expect 0 "wrong checksum" "$here/list.sh" damaged

# The source: from a mirror of one damaged file, with an apt that knows none.
mkdir -p bin mirror/3.0.1 && printf '#!/bin/sh\n' >bin/apt-get && chmod +x bin/apt-get && echo source >mirror/3.0.1/Python-3.0.1.tar.xz
fetch() { PATH=$work/bin:$PATH "$here/fetch.sh" "$@"; }
mirror=file://$work/mirror zeros=$(printf '0%.0s' {1..64}) right=$(echo source | sha256sum)
expect 2 usage fetch
expect 2 "is no version" fetch 3.13 out "$mirror"
expect 2 "is no SHA-256" fetch 3.0.1 out "$mirror" 12ab
expect 2 "is not in sources.txt; give sha256=" fetch 3.0.1 out "$mirror"
expect 1 "wrong checksum from $mirror/3.0.1/Python-3.0.1.tar.xz: expected $zeros, got ${right%% *}" \
    fetch 3.0.1 out "$mirror" "$zeros"
expect 1 "no origin has" fetch 3.0.2 out "$mirror" "$zeros"
holds "a wrong source leaves nothing" test -z "$(find . -maxdepth 1 -name 'out*' ! -name output)"
expect 0 "CPython 3.0.1 from file://" fetch 3.0.1 out "$mirror" "${right%% *}"

# Bad arguments of the rest.
expect 2 usage "$here/deps.sh" remove
expect 2 usage "$here/versions.sh" all
expect 2 usage "$here/build.sh"
expect 2 "no such source" "$here/build.sh" absent "$name" no
expect 2 "is not cpython-X.Y.Z-DISTRO-buildN.tgz" "$here/build.sh" "$good" cpython.tgz no
expect 2 "expected \`no\` or \`yes\`" "$here/build.sh" "$good" "$name" maybe

# A build that is killed leaves nothing in the end, and one that still runs keeps its folder.
# shellcheck disable=SC2016  # variables of that script
mkdir tmp Python-3.0.1 && printf '#!/bin/sh\necho "$$" >"$TMPDIR/started"; exec sleep 60\n' >Python-3.0.1/configure
chmod +x Python-3.0.1/configure && tar -cf sleepy.tar Python-3.0.1
printf '#!/bin/sh\nexit 1\n' >Python-3.0.1/configure && tar -cf broken.tar Python-3.0.1
# begin: a build that has come to its configure; its process group is $group.
begin() {
    rm -f tmp/started
    TMPDIR=$work/tmp setsid "$here/build.sh" sleepy.tar cpython-3.0.1-debian12-build1.tgz no >/dev/null 2>&1 &
    group=$!
    for _ in {1..300}; do
        [[ ! -s tmp/started ]] || return 0
        sleep 0.1
    done
    return 1
}
# end SIGNAL GROUP
end() {
    kill "-$1" -- "-$2"
    wait "$2" 2>/dev/null || true
}
folders() { find tmp -mindepth 1 -maxdepth 1 -type d | wc -l; }
holds "a build begins" begin
end TERM "$group"
holds "a build that is interrupted leaves nothing" test "$(folders)" = 0
begin && living=$group && begin && end KILL "$group"
touch -d '2 minutes ago' tmp/*/
expect 1 "configure failed" env TMPDIR="$work/tmp" "$here/build.sh" broken.tar cpython-3.0.1-debian12-build1.tgz no
holds "what a killed build left goes with the next, what one that runs has stays" test "$(folders)" = 1
end TERM "$living"
holds "nothing is left of any" test "$(folders)" = 0

mkdir empty && for tool in bash awk sed sort comm mktemp rm head dirname; do ln -s "$(command -v "$tool")" empty; done
expect 1 "gcc" env PATH="$work/empty" "$here/deps.sh" check

echo "$((tests - failed)) of $tests passed"
((failed == 0))
