#!/usr/bin/env bash
# Checks one Terraform file, or the module in a folder, without a network.
#
#   terraform.sh format FILE         succeeds if the file is laid out as `terraform fmt` would
#   terraform.sh validate FOLDER     succeeds if the module in FOLDER is valid; it may use built-in providers only
#
# Needs terraform. Leaves nothing: what `terraform init` writes goes to a folder of its own and is removed.
set -euo pipefail
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1

case "${1-} $#" in
    "format 2")
        terraform fmt -check -diff -no-color "$2"
        ;;
    "validate 2")
        TF_DATA_DIR=$(mktemp -d)
        export TF_DATA_DIR
        trap 'rm -rf -- "$TF_DATA_DIR"' EXIT
        terraform -chdir="$2" init -backend=false -input=false -lockfile=readonly >"$TF_DATA_DIR/said" 2>&1 || {
            cat "$TF_DATA_DIR/said" >&2
            exit 1
        }
        terraform -chdir="$2" validate -no-color
        ;;
    *)
        echo "usage: terraform.sh format FILE | validate FOLDER" >&2
        exit 2
        ;;
esac
