"""Answers of the small hub to an upload: a new repository, large files, and a commit that is taken whole or not."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from hub_stand_in import Hub

Answer = tuple[int, Any]

STEPS = {
    "create": r"/api/repos/create",
    "card": r"/api/validate-yaml",
    "ask": r"/api/(?:datasets|spaces)/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)",
    "batch": r"/(?:datasets|spaces)/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch",
    "large": r"/large/(?P<digest>[0-9a-f]{64})",
    "commit": r"/api/(?:datasets|spaces)/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)",
}
"""Steps of an upload by name → path."""


def take(hub: Hub, path: str, authorization: str, body: bytes) -> Answer:
    """Status and answer to a POST or PUT."""
    name, match = next((name, match) for name, form in STEPS.items() if (match := re.fullmatch(form, path)))
    if isinstance(hub.behaviour, int):
        return hub.behaviour, {"error": "Invalid credentials in Authorization header"}
    hub.before.get(name, lambda: None)()
    if name in hub.refusals:
        return hub.refusals[name], {"error": f"no {name}", "url": f"{hub.url}/none/none"}
    if name == "large":  # a signed address: no token is sent there
        assert hashlib.sha256(body).hexdigest() == match["digest"]
        hub.large[match["digest"]] = body
        return 200, {}
    if authorization != f"Bearer {hub.token}":
        return 401, {"error": "Invalid credentials in Authorization header"}
    repo = match.groupdict().get("repo")
    if repo is not None and repo not in hub.repositories:
        return 404, {"error": "Repository not found"}
    return _ANSWERS[name](hub, repo, body)


def _create(hub: Hub, _: str | None, body: bytes) -> Answer:
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    if name in hub.repositories:
        return 409, {"error": "You already created this repo"}
    assert asked["type"] in {"dataset", "space"} and (asked["type"] == "dataset" or asked["sdk"] == "static")
    hub.add(name, {".gitattributes": b"*.parquet filter=lfs"})
    if asked.get("private") or asked.get("visibility") == "private":
        hub.private.add(name)
    return 200, {"url": f"{hub.url}/{asked['type']}s/{name}"}


def _check_card(hub: Hub, _: str | None, body: bytes) -> Answer:
    front = yaml.safe_load(json.loads(body)["content"].split("---")[1])
    if front.get("license") == "none-such":
        return 400, {"errors": [{"message": '"license" must be one of mit, cc-by-4.0'}], "warnings": []}
    return 200, {"errors": [], "warnings": []}


def _ask(hub: Hub, repo: str | None, body: bytes) -> Answer:
    from hub_stand_in import LARGE, _tag

    there = hub.repositories[str(repo)]
    ignored = there.get(".gitignore", b"").decode().split()
    return 200, {
        "files": [
            {
                "path": (path := file["path"]),
                "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
                "shouldIgnore": path in ignored,
                **({"oid": _tag(path, there[path])} if path in there else {}),
            }
            for file in json.loads(body)["files"]
        ]
    }


def _batch(hub: Hub, _: str | None, body: bytes) -> Answer:
    objects = json.loads(body)["objects"]
    return 200, {
        "objects": [
            {**each, "actions": {"upload": {"href": f"{hub.url}/large/{each['oid']}", "header": {}}}}
            if each["oid"] not in hub.large
            else each
            for each in objects
        ]
    }


def _commit(hub: Hub, repo: str | None, body: bytes) -> Answer:
    name = str(repo)
    header, *operations = [json.loads(line) for line in body.splitlines()]
    if header["value"].get("parentCommit") not in {None, hub.commit(name)}:
        return 412, {"error": "A commit has happened since. Please refresh and try again."}
    files = dict(hub.repositories[name])
    for operation in operations:
        value = operation["value"]
        if operation["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif operation["key"] == "lfsFile":
            files[value["path"]] = hub.large[value["oid"]]
        else:
            assert operation["key"] == "deletedFile"
            del files[value["path"]]
    hub.repositories[name] = files
    commit = hub.commit(name)
    return 200, {"commitUrl": f"{hub.url}/{name}/commit/{commit}", "commitOid": commit}


_ANSWERS = {"create": _create, "card": _check_card, "ask": _ask, "batch": _batch, "commit": _commit}
