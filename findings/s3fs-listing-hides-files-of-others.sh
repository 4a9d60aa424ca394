#!/usr/bin/env bash
# s3fs 2026.9.0, fsspec 2026.9.0: a file that another process writes after this one has listed its folder.
#
# Expected: asking for a file by its name asks the server, as reading it with another client does.
# Seen: the listing is kept for as long as the process lives and answers in the server's place. exists() is False, and
# cat() and open() raise FileNotFoundError for a file that is there; the size of one that was replaced stays the old one.
# Processes that share a bucket have to open it with use_listings_cache=False.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet s3fs==2026.9.0 fsspec==2026.9.0 "moto[server]==5.2.5"
cd "$folder"
AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_DEFAULT_REGION=us-east-1 venv/bin/python - 2> log.txt <<'PYTHON'
import s3fs
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(port=0, verbose=False)
server.start()
address = "http://{}:{}".format(*server.get_host_and_port())


def client(**options: bool) -> s3fs.S3FileSystem:
    """Return a client that shares nothing with others, as in another process."""
    return s3fs.S3FileSystem(endpoint_url=address, skip_instance_cache=True, **options)


def read(reader: s3fs.S3FileSystem, name: str) -> object:
    try:
        return reader.cat(name)
    except FileNotFoundError:
        return "FileNotFoundError"


seen = {}
for is_kept in (True, False):
    bucket = f"bucket-{is_kept}".lower()
    one, other = client(use_listings_cache=is_kept), client()
    one.mkdir(bucket)
    one.pipe(f"{bucket}/folder/first", b"old")
    one.ls(f"{bucket}/folder")
    other.pipe(f"{bucket}/folder/second", b"new")
    other.pipe(f"{bucket}/folder/first", b"longer")
    name = f"{bucket}/folder/second"
    seen[is_kept] = (one.exists(name), read(one, name), one.size(f"{bucket}/folder/first"))
print(seen)
server.stop()
expected = {True: (False, "FileNotFoundError", 3), False: (True, b"new", 6)}
assert seen == expected, "s3fs behaves differently now"
PYTHON
