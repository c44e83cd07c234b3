#compdef iact

_iact() {
    local -a candidates
    local line
    while IFS= read -r line; do
        candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done < <("${words[1]}" complete -- "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)
    if (( ${#candidates} )); then
        _describe -V iact candidates
    else
        _files
    fi
}

if [[ $funcstack[1] == _iact ]]; then
    _iact "$@"
else
    compdef _iact iact
fi
