_iact() {
    local line=${COMP_LINE:0:COMP_POINT} word kept candidate rest
    # The word as typed: bash itself splits it at colons and equal signs.
    word=${line##*[[:space:]]}
    kept=${word%"${word##*[:=]}"}
    local words=() at
    for ((at = 1; at < COMP_CWORD; at++)); do
        words+=("${COMP_WORDS[at]}")
    done
    # Pieces of the word under the cursor do not count as words before it.
    for ((rest = ${#kept}; rest > 0 && ${#words[@]} > 0; )); do
        rest=$((rest - ${#words[-1]}))
        unset 'words[-1]'
    done
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        COMPREPLY+=("$(printf %q "${candidate#"$kept"}")")
    done < <("$1" complete -- "${words[@]}" "$word" 2>/dev/null)
}
complete -o default -o nosort -F _iact iact
