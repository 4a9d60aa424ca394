"""Readers of published sparse-autoencoder checkpoints: by path, by repository on the hub, by the names of releases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import harness
from harness_saes.reading import Reading

HARNESS_API = 1


def _gemma_scope(
    *, width: str | int = "16k", l0: str | int | None = None, layer_offset: int = 0
) -> harness.TokenRepresentation:
    from harness_saes.gemma_scope import Catalogue

    return Catalogue(width=width, l0=l0, layer_offset=layer_offset)


def _folder(
    ref: str,
    *,
    width: str | int | None = None,
    l0: str | int | None = None,
    any_site: bool = False,
    layer_offset: int = 0,
    subtract_b_dec: bool | None = None,
) -> harness.TokenRepresentation:
    from harness_saes.gemma_scope import Folder

    reading = Reading(any_site=any_site, subtract_b_dec=subtract_b_dec)
    return Folder(ref, width=width, l0=l0, reading=reading, layer_offset=layer_offset)


def _gemma_scope_2(*, width: str | int = "16k", l0: str = "medium") -> harness.TokenRepresentation:
    from harness_saes.gemma_scope_2 import Catalogue

    return Catalogue(width=width, l0=l0)


def _folder_2(
    ref: str,
    *,
    width: str | int | None = None,
    l0: str | None = None,
    any_site: bool = False,
    subtract_b_dec: bool | None = None,
) -> harness.TokenRepresentation:
    from harness_saes.gemma_scope_2 import Folder

    reading = Reading(any_site=any_site, subtract_b_dec=subtract_b_dec)
    return Folder(ref, width=width, l0=l0, reading=reading)


def _prisma(
    ref: str, *, any_site: bool = False, subtract_b_dec: bool | None = None
) -> harness.TokenRepresentation:
    from harness_saes.prisma import Folder

    return Folder(ref, reading=Reading(any_site=any_site, subtract_b_dec=subtract_b_dec))


def _saev(
    ref: str, *, any_site: bool = False, subtract_b_dec: bool | None = None
) -> harness.TokenRepresentation:
    from harness_saes.saev import Folder

    return Folder(ref, reading=Reading(any_site=any_site, subtract_b_dec=subtract_b_dec))


@harness.hookimpl
def harness_representations() -> list[harness.RepresentationSpec]:
    return [
        harness.RepresentationSpec(
            name="gemma-scope",
            summary="Gemma Scope 1, the published dictionaries of Gemma 2; l0=~100 takes the nearest",
            make=_gemma_scope,
            needs="tokens",
        ),
        harness.RepresentationSpec(
            name="gemma-scope-2",
            summary="Gemma Scope 2, the published dictionaries of Gemma 3; l0 is small, medium or big",
            make=_gemma_scope_2,
            needs="tokens",
        ),
    ]


@harness.hookimpl
def harness_resolve_representation(ref: str) -> harness.RepresentationSpec | None:
    from harness_saes.formats import name_format
    from harness_saes.gemma_scope import is_gemma_scope
    from harness_saes.gemma_scope_2 import is_gemma_scope_2
    from harness_saes.plain import is_explicit
    from harness_saes.prisma import is_prisma
    from harness_saes.releases import is_release, resolve
    from harness_saes.saev import is_saev
    from harness_saes.unread import explain_name

    if is_release(ref):
        return resolve(ref)
    if not harness.local_path(ref).exists() and explain_name(ref):
        return None
    layouts: Mapping[str, tuple[Callable[[str], bool], Callable[..., harness.TokenRepresentation]]] = {
        "Gemma Scope 2": (is_gemma_scope_2, _folder_2),
        "Gemma Scope": (is_gemma_scope, _folder),
        "saev": (is_saev, _saev),
        "ViT-Prisma": (is_prisma, _prisma),
    }
    found = [layout for layout, (is_one, _) in layouts.items() if is_one(ref)]
    if not found or is_explicit(ref):
        return None
    if harness.local_path(ref).is_dir():
        held = [*found, *filter(None, [name_format(ref)])]
        if len(held) > 1:
            raise harness.UsageError(
                f"'{ref}' holds dictionaries in the layouts of {' and of '.join(held)}, and nothing says which is "
                f"meant: name the file"
            )
    return harness.RepresentationSpec(
        name=ref,
        summary=f"a dictionary in the {found[0]} layout",
        make=partial(layouts[found[0]][1], ref),
        needs="tokens",
    )


@harness.hookimpl(specname="harness_resolve_representation", trylast=True)
def resolve_or_refuse(ref: str) -> harness.RepresentationSpec | None:
    """Return a spec for a folder or file in a declared format, or a repository on the hub that may hold one.

    Raise an error for a reference that no plugin serves, where it is known what it is.
    """
    from harness_saes.formats import name_format, open_folder
    from harness_saes.repository import is_hub_reference
    from harness_saes.unread import refuse

    kind = name_format(ref)
    if not kind and (error := refuse(ref)):
        raise error
    if not kind and not is_hub_reference(ref):
        return None
    summary = f"a dictionary of {kind}" if kind else "a dictionary on the hub; its files tell the format"
    return harness.RepresentationSpec(
        name=ref, summary=summary, make=partial(open_folder, ref), needs="tokens"
    )
