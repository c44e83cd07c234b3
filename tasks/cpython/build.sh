#!/usr/bin/env bash
# Compiles CPython and packs it as a relocatable, checksummed archive, the same bytes for the same inputs.
#
#   build.sh SOURCE ARCHIVE OPTIMIZE [FLAG…]
#
# SOURCE   the verified source archive
# ARCHIVE  …/cpython-X.Y.Z-DISTRO-buildN.tgz; `ARCHIVE.sha256` is written beside it
# OPTIMIZE `no` is quick, `yes` is PGO and LTO (not bit-reproducible: profiles differ from run to run)
# FLAG     further arguments of CPython's ./configure
#
# Needs what deps.sh installs. Works in a scratch folder under $TMPDIR, installs nothing on the machine.
#
# The interpreter is linked statically against its own library (no --enable-shared): it then finds everything by its
# own place alone, with no rpath, ld.so.conf or LD_LIBRARY_PATH, also as a copy in `python -m venv --copies`.
# With `--enable-shared` among the flags the library is found relative to the interpreter ($ORIGIN).
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tasks/cpython/scratch.sh
source "$here/scratch.sh"

die() {
    echo "build.sh: $2" >&2
    exit "$1"
}

(($# >= 3)) || die 2 "usage: build.sh SOURCE ARCHIVE OPTIMIZE [FLAG…]"
source=$(realpath -- "$1") archive=$(realpath -m -- "$2") optimize=$3
shift 3
name=$(basename -- "$archive")
[[ -f $source ]] || die 2 "no such source: $source"
[[ $name =~ ^cpython-([0-9]+\.[0-9]+)\.([0-9]+)-([a-z0-9.]+)-build([0-9]+)\.tgz$ ]] ||
    die 2 "\`$name\` is not cpython-X.Y.Z-DISTRO-buildN.tgz"
short=${BASH_REMATCH[1]} version=${BASH_REMATCH[1]}.${BASH_REMATCH[2]} distro=${BASH_REMATCH[3]} build=${BASH_REMATCH[4]}
flags=(--with-ensurepip=install --enable-loadable-sqlite-extensions "$@")
case $optimize in
no) flags+=(--disable-test-modules) ;;
yes) flags+=(--enable-optimizations --with-lto) ;;
*) die 2 "optimize is \`$optimize\`; expected \`no\` or \`yes\`" ;;
esac

# Nothing of the caller's language, user, time or place may reach the result.
umask 022
export LC_ALL=C TZ=UTC PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
unset CC CFLAGS CPPFLAGS LDFLAGS LIBS PYTHONHOME PYTHONPATH
case " ${flags[*]} " in
*" --enable-shared "*) export LDFLAGS="-Wl,-rpath,'\$\$ORIGIN/../lib'" ;;
esac

rm -f -- "$archive".partial.*
scratch cpython-build
trap 'rm -f -- "$archive.partial.$$"; unscratch' EXIT
prefix=/opt/python-$version
root=$work/stage$prefix
src=$work/Python-$version

# step NAME COMMAND…: runs it silently; the end of its output if it fails.
step() {
    local label=$1 begin=$SECONDS
    shift
    if ! "$@" >"$work/log" 2>&1; then
        tail -n 40 -- "$work/log" >&2
        die 1 "$label failed"
    fi
    echo "$label: $((SECONDS - begin)) s"
}

tar -xf "$source" -C "$work"
cd -- "$src"
SOURCE_DATE_EPOCH=$(stat -c %Y configure)
export SOURCE_DATE_EPOCH

# Under a jobserver, make takes its share of it.
jobs=(-j"$(nproc)")
[[ ${MAKEFLAGS-} != *--jobserver-auth=* ]] || jobs=()

step configure ./configure --prefix="$prefix" "${flags[@]}"
extra="-g0 -ffile-prefix-map=$src=." # no debug information, no path of this folder
step make make "${jobs[@]}" EXTRA_CFLAGS="$extra"
step install make install DESTDIR="$work/stage" COMPILEALL_OPTS="-x ."

cd -- "$root"
lib=lib/python$short
[[ -x bin/python$short ]] || die 1 "make install left no bin/python$short"

# Slim: no tests, no IDLE, no static libraries and objects, no symbols.
find "$lib" -name site-packages -prune -o -type d \( -name test -o -name tests -o -name idlelib -o -name idle_test \
    -o -name __pycache__ \) -prune -exec rm -rf {} +
find . -type d -name __pycache__ -prune -exec rm -rf {} +
find . -name '*.[ao]' -delete
rm -f bin/idle3*
chmod -R u=rwX,go=rX .
find . -type f \( -name '*.so' -o -name '*.so.*' -o -path "./bin/python$short" \) -exec strip --strip-unneeded {} +

# Relocatable: scripts find the interpreter beside themselves, what Python knows of its build follows its place.
ln -s python3 bin/python
for script in bin/*; do
    # shellcheck disable=SC2015  # both must hold
    [[ -f $script && ! -L $script ]] && head -n 1 -- "$script" | grep -aq "^#!.*python" || continue
    {
        echo '#!/bin/sh'
        echo "'''exec' \"\$(dirname -- \"\$(readlink -f -- \"\$0\")\")/python$short\" \"\$0\" \"\$@\""
        echo "' '''"
        tail -n +2 -- "$script"
    } >"$work/script"
    cat -- "$work/script" >"$script"
done
sed -i "s|^prefix=$prefix\$|prefix=\${pcfiledir}/../..|" lib/pkgconfig/*.pc
while IFS= read -r file; do
    sed -i "s| $extra||g; s|$src|/usr/src/Python-$version|g; s|$work/stage||g" "$file"
done < <(grep -rlIF -- "$work" .)
cat >>"$(echo "$lib"/_sysconfigdata_*.py)" <<PY

import sys
build_time_vars = {name: value.replace("$prefix", sys.base_prefix) if isinstance(value, str) else value
                   for name, value in build_time_vars.items()}
PY

# Bytecode checked by content, not by time: an unpacked or restored copy never rewrites it.
step bytecode "bin/python$short" -m compileall -q -o 0 --invalidation-mode checked-hash -s "$root" -p "$prefix" "$lib"

leaks=$(grep -rlF -- "$work" .) && die 1 "the path of the build folder is left in ${leaks//$'\n'/ }"

cp -- "$src/LICENSE" LICENSE
{
    printf '%s\n' "version: $version" "build: $build" "distro: $distro" "optimize: $optimize" \
        "configure: ${flags[*]}" "source-sha256: $(sha256sum <"$source" | cut -d ' ' -f 1)"
    "$here/versions.sh" | sed 's/^/with: /'
    find "$lib/lib-dynload" -name '*.so' -printf '%f\n' | sed 's/\..*//; s/^/module: /' | sort
} >.build-info

# Pack: sorted, no owner, one time, no name or time in gzip's header.
tar -C "$work/stage/opt" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    -cf - "python-$version" | gzip -n >"$archive.partial.$$"
sum=$(sha256sum <"$archive.partial.$$") sum=${sum%% *}
mv -- "$archive.partial.$$" "$archive"
printf '%s  %s\n' "$sum" "$name" >"$archive.sha256"
echo "$name: $(($(stat -c %s "$archive") / 1000)) kB, sha256 $sum"
