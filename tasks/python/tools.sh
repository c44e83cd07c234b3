#!/usr/bin/env bash
# Installs the programs of a requirements file into a folder that holds no absolute path but its interpreter's: it works in any
# checkout, so that what they find in one counts in all of them.
#
#   tools.sh PYTHON FOLDER REQUIREMENTS        makes FOLDER anew; needs a package index
#
# FOLDER/bin/python is PYTHON with these packages; beside it are their programs. Requirements are pinned with their hashes.
set -euo pipefail
export LC_ALL=C

if (($# != 3)); then
    echo "usage: tools.sh PYTHON FOLDER REQUIREMENTS" >&2
    exit 2
fi
python=$1 folder=$2 requirements=$3
for file in "$python" "$requirements"; do
    [[ -f $file ]] || {
        echo "tools.sh: no such file: $file" >&2
        exit 2
    }
done

scratch=$(mktemp -d)
trap 'if (($? != 0)); then rm -rf -- "$folder"; fi; rm -rf -- "$scratch"' EXIT
# pip comes with a virtual environment, which is thrown away.
"$python" -m venv "$scratch/venv"
rm -rf -- "$folder"
mkdir -p "$folder"
"$scratch/venv/bin/python" -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps --no-compile \
    --target "$folder/lib" -r "$requirements"
mv "$folder/lib/bin" "$folder/bin"
# Trusted is who this machine trusts, as with Debian's own packages.
if [[ -f $folder/lib/certifi/cacert.pem && -f /etc/ssl/certs/ca-certificates.crt ]]; then
    ln -sf /etc/ssl/certs/ca-certificates.crt "$folder/lib/certifi/cacert.pem"
fi

cat >"$folder/bin/python" <<EOF
#!/bin/sh
PYTHONPATH=\$(cd "\$(dirname "\$0")/../lib" && pwd)\${PYTHONPATH:+:\$PYTHONPATH} exec $python -sB "\$@"
EOF
chmod +x "$folder/bin/python"
# A script begins with the interpreter that pip ran on; it is to be the one beside it. To a shell the first lines are a command,
# to Python a text.
for program in "$folder"/bin/*; do
    if [[ $program != */python && $(head -c 2 "$program") == '#!' ]]; then
        {
            printf '%s\n' '#!/bin/sh' "'''exec' \"\$(dirname \"\$0\")/python\" \"\$0\" \"\$@\"" "' '''"
            tail -n +2 "$program"
        } >"$scratch/program"
        cat "$scratch/program" >"$program"
    fi
done
if grep -rIlF -e "$scratch" -e "$PWD" "$folder/bin" >&2; then
    echo "tools.sh: these hold the path of a folder of this checkout" >&2
    exit 1
fi
"$folder/bin/python" --version
