#!/usr/bin/env bash
# Installs the four tools, their manual pages and completions under a prefix; called by `make install`.
# libtorch goes with them, so that the checkout may be moved or removed afterwards.
set -eu

PREFIX=${1:?usage: scripts/install.sh PREFIX}
cd "$(dirname "$0")/.."
BIN=target/release
TORCH=${LIBTORCH:-libtorch}

mkdir -p "$PREFIX/bin" "$PREFIX/lib/tradepipe" "$PREFIX/share/man/man1" \
    "$PREFIX/share/bash-completion/completions" "$PREFIX/share/zsh/site-functions" \
    "$PREFIX/share/fish/vendor_completions.d" || {
    echo "install: cannot write under $PREFIX (choose another PREFIX=…)" >&2
    exit 1
}

# To a temporary name and then into place, so that a running tool is never written over.
put() {
    cp "$1" "$2.new"
    mv -f "$2.new" "$2"
}

for library in "$TORCH"/lib/*.so* "$TORCH"/lib/*.dylib; do
    [ -e "$library" ] || continue
    name=$(basename "$library")
    # The same library need not travel twice.
    cmp -s "$library" "$PREFIX/lib/tradepipe/$name" || put "$library" "$PREFIX/lib/tradepipe/$name"
done

for tool in featgen envpool train cpumon; do
    put "$BIN/$tool" "$PREFIX/bin/$tool"
    "$BIN/$tool" pages man >"$PREFIX/share/man/man1/$tool.1"
    "$BIN/$tool" pages bash >"$PREFIX/share/bash-completion/completions/$tool"
    "$BIN/$tool" pages zsh >"$PREFIX/share/zsh/site-functions/_$tool"
    "$BIN/$tool" pages fish >"$PREFIX/share/fish/vendor_completions.d/$tool.fish"
done

echo "installed featgen, envpool, train and cpumon into $PREFIX/bin" >&2
case ":$PATH:" in
    *":$PREFIX/bin:"*) ;;
    *) echo "install: $PREFIX/bin is not in PATH; add it to use the tools by name" >&2 ;;
esac
