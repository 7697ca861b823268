"""Downloads of data sets that are freely available."""

from __future__ import annotations

import errno
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Source(NamedTuple):
    """Where a data set is published: licence and citation, and address and checksum ("md5:…") of each file.

    There are no files if the authors ask for a form; archives end with .zip.
    """

    title: str
    terms: str
    files: tuple[tuple[str, str | None], ...] = ()


_TCIA = "https://www.cancerimagingarchive.net/wp-content/uploads"
SOURCES = {
    "bus_bra": Source(
        "BUS-BRA",
        "Licence: CC BY 4.0 (https://zenodo.org/records/8231412).\n"
        "Cite: W. Gómez-Flores, M. J. Gregorio-Calas, W. C. de Albuquerque Pereira, BUS-BRA: A breast ultrasound "
        "dataset for assessing computer-aided diagnosis systems, Medical Physics 51 (2024) 3110, "
        "https://doi.org/10.1002/mp.16812",
        (("https://zenodo.org/records/8231412/files/BUSBRA.zip", "md5:1f8b2be6476d58fc97bfb5e5a1ea9bab"),),
    ),
    "busi": Source(
        "BUSI",
        "Licence: as on the authors' page, https://scholar.cu.edu.eg/?q=afahmy/pages/dataset; mirrors state CC0 1.0 or "
        "CC BY 4.0.\n"
        "Cite: W. Al-Dhabyani, M. Gomaa, H. Khaled, A. Fahmy, Dataset of breast ultrasound images, Data in Brief 28 "
        "(2020) 104863, https://doi.org/10.1016/j.dib.2019.104863",
        (("https://scholar.cu.edu.eg/Dataset_BUSI.zip", None),),
    ),
    "breast": Source(
        "BrEaST",
        "Licence: CC BY 4.0 (https://doi.org/10.7937/9WKK-Q141).\n"
        "Cite: A. Pawłowska et al., Curated benchmark dataset for ultrasound based breast lesion analysis, Scientific "
        "Data 11 (2024) 148, https://doi.org/10.1038/s41597-024-02984-z, and the data, https://doi.org/10.7937/9WKK-Q141",
        (
            (f"{_TCIA}/BrEaST-Lesions_USG-images_and_masks-Dec-15-2023.zip", None),
            (f"{_TCIA}/BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx", None),
        ),
    ),
    "bus_uclm": Source(
        "BUS-UCLM",
        "Get it from https://data.mendeley.com/datasets/7fvgj4jsp7 and unpack it. Its licence is stated both as CC BY "
        "4.0 and as CC BY-NC 4.0 (non-commercial). Cite: N. Vallez et al., Scientific Data 12 (2025) 242",
    ),
    "udiat": Source(
        "UDIAT",
        "Its authors hand it out on a signed agreement: https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php. Cite: M. H. "
        "Yap et al., IEEE Journal of Biomedical and Health Informatics 22 (2018) 1218",
    ),
}


def download(name: str, out: str | os.PathLike[str], files: Sequence[tuple[str, str | None]] | None = None) -> Path:
    """Download a data set from its authors' page, verify it and unpack it to the folder `out`.

    Existing files are kept, and an interrupted download is resumed. The archive stays beside its contents and may be
    deleted. `files` are addresses to use in place of the published ones, with checksums or None.

    Raises:
        ValueError: the data set is unknown or can't be downloaded (the message says where to get it); a file is not
            the published one or not an archive, and was deleted.
        OSError: the server can't be reached, the connection broke, or the disk is full.
    """
    import pooch
    import requests

    if name not in SOURCES:
        raise ValueError(f"no data set {name!r}; expected one of {', '.join(SOURCES)}")
    source, out = SOURCES[name], Path(out)
    files = source.files if files is None else files
    if not files:
        raise ValueError(f"{source.title} can't be downloaded by a program. {source.terms}")
    pooch.get_logger().setLevel("WARNING")
    for address, checksum in files:
        file = out / address.rsplit("/", 1)[-1]
        try:
            pooch.retrieve(address, checksum, fname=file.name, path=out, downloader=_resume)
            if file.suffix == ".zip":
                with zipfile.ZipFile(file) as archive:
                    archive.extractall(out)
        except requests.RequestException as error:
            raise OSError(f"download of {address} failed ({error}); run it again to resume") from None
        except ValueError as error:  # of pooch, which has deleted the file
            raise ValueError(f"{address} does not have the checksum {checksum}: {error}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            file.unlink()
            raise ValueError(f"{address} is not a whole zip archive and was deleted; run it again ({error})") from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise OSError(error.errno, f"no space left in {out}; free some and run it again to resume") from None
            raise
    return out


def _resume(address: str, target: str, _: Any) -> None:
    """Download a file for pooch; an interrupted download, kept in `NAME.part`, is resumed."""
    import requests
    from tqdm import tqdm

    part = Path(target).parent / (address.rsplit("/", 1)[-1] + ".part")
    done = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    with requests.get(address, stream=True, timeout=60, headers=headers) as answer:
        if answer.status_code != requests.codes.requested_range_not_satisfiable:  # else the file is already complete
            answer.raise_for_status()
            if answer.status_code != requests.codes.partial_content:
                done = 0
            total = done + int(answer.headers.get("Content-Length", 0))
            bar = tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=part.stem, disable=None)
            with bar, open(part, "ab" if done else "wb") as file:
                for block in answer.iter_content(1 << 16):
                    file.write(block)
                    bar.update(len(block))
    part.replace(target)
