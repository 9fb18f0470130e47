#!/usr/bin/env bash
# Brings libtorch 2.13.0, the version that tch 0.26.0 is written for, into libtorch/ at the repository root.
#
#   scripts/setup-libtorch.sh         what the CPU (and, on a Mac, Metal) needs
#   scripts/setup-libtorch.sh cuda    the same with CUDA, on Linux; so does DEVICE=cuda in the environment
#
# It takes the libraries out of PyTorch's own wheels, whose check sums are pinned below; no Python package is
# installed. Run it from anywhere and as often as you like: it is quick when its work is done, and an
# interrupted run leaves nothing half-made. A LIBTORCH in the environment wins, and then this does nothing.
set -eu

VERSION=2.13.0

fail() {
    echo "setup-libtorch: $*" >&2
    exit 1
}

DEVICE=${1:-${DEVICE:-cpu}}
case "$DEVICE" in
    cuda) ;;
    # The CPU's libraries are Metal's too.
    auto | cpu | mps) DEVICE=cpu ;;
    *) echo "setup-libtorch: \"$DEVICE\" is no device (usage: $0 [auto|cpu|cuda|mps])" >&2; exit 2 ;;
esac

ROOT=$(cd "$(dirname "$0")/.." && pwd)
TARGET=$ROOT/libtorch

if [ -n "${LIBTORCH:-}" ] && [ "$LIBTORCH" != "$TARGET" ] && [ "$LIBTORCH" != libtorch ]; then
    [ -d "$LIBTORCH/lib" ] || fail "LIBTORCH is $LIBTORCH, which has no lib directory (unset LIBTORCH to fetch $VERSION)"
    echo "setup-libtorch: using LIBTORCH=$LIBTORCH" >&2
    exit 0
fi

# The directory is renamed into place when complete, so its version file vouches for all of it.
if [ "$(cat "$TARGET/build-version" 2>/dev/null)" = "$VERSION" ]; then
    if [ "$DEVICE" = cpu ] || [ -e "$TARGET/lib/libtorch_cuda.so" ]; then
        exit 0
    fi
fi

# One line a wheel: package, version, SHA-256. The libraries that libtorch_cpu asks for differ by platform.
case "$(uname -s)-$(uname -m)" in
    Linux-x86_64)
        TAGS="manylinux_2_28_x86_64 manylinux_2_25_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64"
        WHEELS="torch $VERSION 60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7
nvidia-cuda-runtime 13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti 13.0.85 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"
        MEGABYTES=540
        ;;
    Linux-aarch64 | Linux-arm64)
        TAGS="manylinux_2_28_aarch64 manylinux_2_25_aarch64 manylinux_2_17_aarch64 manylinux2014_aarch64"
        WHEELS="torch $VERSION 092790c696a760c729fd5722835f50b9d81fd7c8f141571f3f3cf4081a8f664c
nvidia-cuda-runtime 13.0.96 ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55
nvidia-cuda-cupti 13.0.85 796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151"
        MEGABYTES=440
        ;;
    Darwin-arm64)
        TAGS="macosx_14_0_arm64"
        WHEELS="torch $VERSION e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8"
        MEGABYTES=111
        ;;
    *) fail "no libtorch $VERSION is published for $(uname -s) on $(uname -m) (build one and point LIBTORCH at it)" ;;
esac
if [ "$DEVICE" = cuda ] && [ "$(uname -s)" != Linux ]; then
    fail "CUDA exists on Linux alone (leave out cuda)"
fi

command -v python3 >/dev/null 2>&1 || fail "python3 is not installed (Debian: apt install python3 python3-pip; macOS: xcode-select --install)"

mkdir -p "$ROOT/.cache"
WORK=$(mktemp -d "$ROOT/.cache/libtorch.XXXXXX") || fail "cannot write to $ROOT/.cache"
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

PYTHON=python3
if ! python3 -m pip --version >/dev/null 2>&1; then
    # Some systems package venv but not pip; a virtual environment brings its own.
    python3 -m venv "$WORK/venv" >/dev/null 2>&1 && "$WORK/venv/bin/python" -m pip --version >/dev/null 2>&1 ||
        fail "python3 has neither pip nor venv (Debian and Ubuntu: apt install python3-pip; Fedora: dnf install python3-pip)"
    PYTHON=$WORK/venv/bin/python
fi

PLATFORMS=
for tag in $TAGS; do
    PLATFORMS="$PLATFORMS --platform $tag"
done

# Downloads wheels; whatever pip has to say about a failure becomes the tail of one line.
download() {
    # shellcheck disable=SC2086 # PLATFORMS is a list of words.
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-cache-dir --only-binary=:all: \
        --implementation cp --python-version 3.11 $PLATFORMS --dest "$WORK/wheels" "$@" >"$WORK/log" 2>&1 ||
        fail "cannot download $*: $(grep . "$WORK/log" | tail -1)"
}

echo "setup-libtorch: fetching libtorch $VERSION ($DEVICE, $MEGABYTES MB or more) into libtorch/" >&2
if [ "$DEVICE" = cuda ]; then
    # The wheel names the exact CUDA libraries it was built with; pip checks them against the index.
    download "torch==$VERSION"
fi
while read -r package version _; do
    download --no-deps "$package==$version"
done <<WHEELS_END
$WHEELS
WHEELS_END

"$PYTHON" - "$WORK" "$DEVICE" "$VERSION" "$WHEELS" <<'PYTHON_END' || exit 1
import glob, hashlib, os, re, shutil, sys, zipfile

work, device, version, wheels = sys.argv[1:]


def fail(message):
    sys.exit("setup-libtorch: " + message)


def digest(path):
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


for line in wheels.splitlines():
    package, package_version, wanted = line.split()
    stem = package.replace("-", "_") + "-" + package_version
    (path,) = glob.glob(os.path.join(work, "wheels", stem + "-*.whl"))
    found = digest(path)
    if found != wanted:
        fail("%s has SHA-256 %s, not the pinned %s" % (os.path.basename(path), found, wanted))

# What libtorch_cpu asks for, directly or not. Everything lies in one directory, where its $ORIGIN (on a Mac
# its @loader_path) finds it.
CPU = re.compile(
    r"lib(torch_cpu|c10|gomp|omp|arm_compute|arm_compute_graph|gfortran|nvpl_\w+|cudart|cupti)\.(so|dylib)[.\d]*$"
)
CUDA = re.compile(r"lib(?!torch_python|shm)[\w-]+\.so[.\d]*$")
keep = CUDA if device == "cuda" else CPU
root = os.path.join(work, "libtorch")
lib = os.path.join(root, "lib")
os.makedirs(lib)
try:
    for path in sorted(glob.glob(os.path.join(work, "wheels", "*.whl"))):
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                base = os.path.basename(name)
                library = keep.match(base) or (base == "libtorch.dylib")
                if name.startswith("torch/include/") and base:
                    out = os.path.join(root, name[len("torch/"):])
                elif library and "/lib/" in name:
                    out = os.path.join(lib, base)
                else:
                    continue
                os.makedirs(os.path.dirname(out), exist_ok=True)
                with wheel.open(name) as source, open(out, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        os.remove(path)
    if device == "cpu" and not os.path.exists(os.path.join(lib, "libtorch.dylib")):
        # The wheel's own libtorch.so is an empty shell that asks for CUDA.
        with open(os.path.join(lib, "libtorch.so"), "w") as script:
            script.write("INPUT(-ltorch_cpu -lc10)\n")
    # torch-sys checks this; written last.
    with open(os.path.join(root, "build-version"), "w") as file:
        file.write(version + "\n")
except OSError as error:
    fail("cannot unpack libtorch: %s" % error)
PYTHON_END

if [ -e "$TARGET" ]; then
    mv "$TARGET" "$WORK/replaced" || fail "cannot replace $TARGET"
fi
mv "$WORK/libtorch" "$TARGET" || fail "cannot move libtorch into place at $TARGET"
echo "setup-libtorch: libtorch $VERSION is in libtorch/" >&2
