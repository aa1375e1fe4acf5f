"""Commands that keep a gallery safe: backups, and encryption of what a voice can be recognised by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openkith.cli.options import GalleryOption, JsonOption, YesOption
from openkith.cli.output import ask, bullets, local_time, print_json, progress, say
from openkith.errors import ConfigError

if TYPE_CHECKING:
    from openkith.gallery.safekeeping.backup_file import Backup

__all__ = ["ENCRYPTION_COMMANDS", "backup", "make_key", "restore", "rotate", "status"]


def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file for the backup.", show_default=False)
    ],
    gallery: GalleryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the gallery to one file, as it is at one moment, while a daemon goes on writing.

    Encrypted values stay encrypted: no key is needed. Otherwise whoever can read the file has everybody's voice print.
    """
    from openkith.gallery import Gallery
    from openkith.gallery.safekeeping.backup import backup as write_backup
    from openkith.gallery.safekeeping.encryption import KeySource

    with (
        Gallery(gallery, key=KeySource.NOWHERE) as opened,
        progress("backing up", quiet=as_json) as step,
    ):
        written = write_backup(opened, file, progress=lambda done, total: step("backing up", done, total))
    if as_json:
        print_json(written)
        return
    say(f"{_people(written)} written to {written.path} ({written.bytes / 1e6:.1f} MB)")
    bullets([_sealed(written)])


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Erase what is in the gallery now.")] = False,
    yes: YesOption = False,
    gallery: GalleryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup into a new gallery, or in the place of one, after checking every row of it.

    The gallery may be of the other kind of database than the one that was backed up.
    """
    from openkith.gallery.safekeeping.backup import restore as put_back
    from openkith.gallery.safekeeping.backup_file import read_backup

    held = read_backup(file)
    question = f"Erase what is in the gallery, and put {_people(held)} of {local_time(held.created)} there?"
    if replace and not ask(question, yes=yes):
        say("nothing was changed")
        raise typer.Exit(1)
    with progress("restoring", quiet=as_json) as step:
        result = put_back(
            file, gallery, replace=replace, progress=lambda done, total: step("restoring", done, total)
        )
    if as_json:
        print_json(result)
        return
    say(f"{_people(result.backup)} restored, as of {local_time(result.backup.created)}")
    erased = [f"{result.replaced} rows erased that were there", result.note] if result.replaced else []
    bullets([*erased, _sealed(result.backup)])


def _people(held: Backup) -> str:
    people, clips = (
        f"{count} {name}{'' if count == 1 else 's'}"
        for name, count in (("person", held.rows["people"]), ("clip", held.rows["clips"]))
    )
    return f"{people.replace('persons', 'people')} with {clips}"


def _sealed(held: Backup) -> str:
    if held.key_id is None:
        return "not encrypted: keep it where only you can read it"
    return f"encrypted with key {held.key_id}: it is worth nothing without that key, so keep the key too, elsewhere"


def make_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file for the key.", show_default=False)],
) -> None:
    """Make a key for encryption, in a file that only its owner may read."""
    from openkith.gallery.safekeeping.encryption import KEY_FILE_VARIABLE, make_key_file

    make_key_file(file)
    say(f"a new key is in {file}")
    bullets(
        [
            f"encrypt a gallery with it: kith encryption rotate --new-key {file}",
            f"from then on set {KEY_FILE_VARIABLE}={file.absolute()}",
            "keep a copy of the file elsewhere: without it an encrypted gallery is lost",
        ]
    )


def rotate(
    new_key: Annotated[
        Path | None,
        typer.Option(
            "--new-key",
            metavar="FILE",
            help="The key from now on. Default: that of the environment, where it is not the one so far.",
            show_default=False,
        ),
    ] = None,
    old_key: Annotated[
        Path | None,
        typer.Option(
            "--old-key",
            metavar="FILE",
            help="The key so far. Default: that of the environment, where the gallery is encrypted.",
            show_default=False,
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Decrypt the gallery.")] = False,
    gallery: GalleryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encrypt the gallery, give it another key, or decrypt it; daemons are to be started again after that.

    The environment's key is what KITH_KEY_FILE or KITH_KEY says.
    """
    from openkith.gallery import Gallery
    from openkith.gallery.safekeeping.encryption import read_key, read_key_file
    from openkith.gallery.safekeeping.rotation import key_id_of
    from openkith.gallery.safekeeping.rotation import rotate as give_key

    if off and new_key is not None:
        raise typer.BadParameter("give either --new-key or --off")
    encrypted, environment = key_id_of(gallery) is not None, read_key()
    before = environment if encrypted else None
    if old_key is not None:
        before = read_key_file(old_key)
    after = None
    if new_key is not None:
        after = read_key_file(new_key)
    elif not off:
        after = environment if old_key is not None or not encrypted else None
        if after is None:
            raise ConfigError("no new key was given: give --new-key FILE, or --off to decrypt the gallery")
    with Gallery(gallery, key=before) as opened, progress("encrypting", quiet=as_json) as step:
        result = give_key(opened, after, progress=lambda done, total: step("encrypting", done, total))
    if as_json:
        print_json(result)
        return
    state = (
        "not encrypted any more" if result.after is None else f"encrypted with key {result.after} from now on"
    )
    say(f"the gallery is {state}: {result.values} values written anew")
    daemons = "with KITH_KEY_FILE naming its file" if result.after else "without KITH_KEY_FILE"
    earlier = "are encrypted with the key so far, which they need" if result.before else "are not encrypted"
    bullets([result.note, f"start every daemon on it again, {daemons}", f"backups made before {earlier}"])


def status(gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """Show whether the gallery is encrypted, and whether the environment has its key."""
    from openkith.gallery.safekeeping.encryption import Cipher, read_key
    from openkith.gallery.safekeeping.rotation import key_id_of

    stored, key = key_id_of(gallery), read_key()
    given = None if key is None else Cipher(key).key_id
    if as_json:
        print_json({"key": stored, "given": given})
        return
    say("the gallery is not encrypted" if stored is None else f"the gallery is encrypted with key {stored}")
    if given is not None or stored is not None:
        say(
            "the environment gives "
            + ("no key" if given is None else "it" if given == stored else f"key {given}")
        )


ENCRYPTION_COMMANDS: dict[str, Callable[..., None]] = {
    "make-key": make_key,
    "rotate": rotate,
    "status": status,
}
