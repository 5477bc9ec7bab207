# Reads a profile in callgrind's format: the sum per unit, and the files and functions that have most of it.
#
# Costs lie at lines of files (`fl`, `fi`, `fe`), so what was inlined counts where it was written. The line behind
# `calls=` is what a call cost, callee and all: it counts for the caller's inclusive sum alone. Names come once in
# full, `(12) name`, and from then on as `(12)`.

function name(text, table,    id) {
    id = text
    sub(/\).*/, ")", id)
    sub(/^\([0-9]+\) ?/, "", text)
    if (text != "") table[id] = text
    return table[id]
}

# A path in words that mean something on every machine.
function place(path, of_function) {
    if (path == "???") return "(no source) " of_function
    if (path ~ /sysdeps\//) { sub(/.*\//, "", path); return "libc " path }
    if (sub(/.*\/registry\/src\/[^\/]+\//, "", path)) { sub(/-[0-9][^\/]*\/.*/, "", path); return "crate " path }
    if (sub(/^\/rustc\/[0-9a-f]+\/library\//, "", path)) { sub(/\/.*/, "", path); return "rust " path }
    if (sub(/^\/rust\/deps\//, "", path)) { sub(/-[0-9].*/, "", path); return "crate " path }
    return index(path, root "/") == 1 ? substr(path, length(root) + 2) : path
}

/^fl=/ { file = name(substr($0, 4), files); next }
/^f[ie]=/ { file = name(substr($0, 4), files); next }
/^fn=/ { caller = name(substr($0, 4), functions); next }
/^cfn=/ { name(substr($0, 5), functions); next }
/^cf[il]=/ { name(substr($0, 5), files); next }
/^calls=/ { getline; inclusive[caller] += $2; next }
/^[0-9+*-]/ { exclusive[place(file, caller)] += $2; inclusive[caller] += $2; total += $2; next }

function row(amount, text) { printf "    %10.1f  %5.1f %%  %s\n", amount / units, 100 * amount / total, text }

# The greatest of `amounts`, down to one in a hundred.
function table_of(amounts, count, pattern,    i, key, best) {
    for (i = 0; i < count; i++) {
        best = ""
        for (key in amounts) if (key ~ pattern && (best == "" || amounts[key] > amounts[best])) best = key
        if (best == "" || amounts[best] * 100 < total) return
        row(amounts[best], best)
        delete amounts[best]
    }
}

END {
    printf "%s: %.1f instructions a %s (%d in all, %d times)\n", scenario, total / units, unit, total, units
    print "  in the lines of"
    table_of(exclusive, 12, ".")
    print "  below the functions that were not inlined"
    table_of(inclusive, 8, "^<?courier::")
    print ""
}
