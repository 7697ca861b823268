"""Data sets in the layouts in which they are published, generated.

Each function writes one and returns what its cases must be: case_id, class, group, BI-RADS category and device.
"""

import itertools

import numpy as np
import pandas as pd
from PIL import Image

SIZE = (20, 16)
seeds = itertools.count()


def picture(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(next(seeds)).integers(0, 256, size[::-1], np.uint8)
    Image.fromarray(grey).save(path)


def mask(path, colour=255, size=SIZE, box=(4, 4, 10, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L" if isinstance(colour, int) else "RGB", size)
    if box:
        image.paste(colour, box)
    image.save(path)


def sheet(path, *rows):
    pd.DataFrame(rows).to_excel(path, header=False, index=False)


def busi(root):
    expected = []
    for name in ("benign", "malignant", "normal"):
        picture(root / name / "a (1).png")
        mask(root / name / "a (1)_mask.png", box=None if name == "normal" else (4, 4, 10, 10))
        expected.append((f"{name}/a (1).png", name, f"{name}/a (1).png", "", ""))
    return expected


def bus_bra(root):
    table, folds = ["ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX"], ["ID,Pathology,kFold,valid_1"]
    expected, device = [], "GE Logiq 7 @10-14MHz"
    cases = (("0001-l", "malignant", 1, 4, 3), ("0001-r", "malignant", 1, 5, 3), ("0007-s", "benign", 7, 2, 5))
    for name, kind, patient, birads, fold in cases:
        picture(root / "Images" / f"bus_{name}.png")
        mask(root / "Masks" / f"mask_{name}.png")
        table.append(f'bus_{name},{patient},cyst,{kind},{birads},{device},20,16,left,"[4,4,6,6]"')
        folds.append(f"bus_{name},{kind},{fold},NaN")
        expected.append((f"Images/bus_{name}.png", kind, f"bus_bra/{patient}", str(birads), device))
    (root / "bus_data.csv").write_text("\n".join(table))
    (root / "5-fold-cv.csv").write_text("\n".join(folds))
    return expected


def bus_uclm(root):
    green, expected = (0, 255, 0), []
    table = ["\ufeffImage;Resolution;Label;Doppler;Marks;Combined"]
    for name, kind, patient, colour, flags in (
        ("ALWI_000", "Benign", "ALWI", green, "No;No;No"),
        ("ALWI_001", "Normal", "ALWI", 0, "No;Yes;No"),
        ("CHCO_000", "Malignant", "CHCO", (255, 0, 0), "No;No;No"),
        ("CHVI_000", "Malignant", "CHCO", (255, 0, 0), "No;No;No"),
        ("DOPP_000", "Benign", None, green, "Yes;No;No"),
        ("TWIN_000", "Benign", None, green, "No;No;Yes"),
        ("WIDE_000", "Benign", None, green, "No;No;No"),
    ):
        picture(root / "images" / f"{name}.png")
        mask(root / "masks" / f"{name}.png", colour, (40, 32) if name == "WIDE_000" else SIZE)
        table.append(f"{name}.png;20x16;{kind};{flags}")
        if patient:
            expected.append((f"images/{name}.png", kind.lower(), f"bus_uclm/{patient}", "", "Siemens ACUSON S2000"))
    (root / "INFO.csv").write_text("\n".join(table), encoding="utf-8")
    return expected


def breast(root):
    table = [["CaseID", "Image_filename", "Mask_tumor_filename", "Mask_other_filename", "BIRADS", "Classification"]]
    images, expected = root / "BrEaST-Lesions_USG-images_and_masks", []
    for name, birads, kind in (("case001", "4a", "benign"), ("case002", 5, "malignant"), ("case045", 1, "normal")):
        picture(images / f"{name}.png")
        mask(images / f"{name}_other1.png", box=(0, 0, 20, 3))
        table.append([name[-3:], f"{name}.png", f"{name}_tumor.png", f"{name}_other1.png", birads, kind])
        if kind != "normal":
            mask(images / f"{name}_tumor.png")
            expected.append((f"{images.name}/{name}.png", kind, f"breast/{name}", str(birads), ""))
    sheet(root / "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx", *table)
    return expected


def udiat(root):
    table, expected = [["Image", "Type", "Diagnosis"]], []
    for name, cell, kind in (("000001", "000001", "Benign"), ("000002", 2, "Malignant"), ("000003", 3, "benign ")):
        picture(root / "original" / f"{name}.png")
        mask(root / "GT" / f"{name}.png")
        table.append([cell, kind, "FA"])
        expected.append((f"original/{name}.png", kind.strip().lower(), f"udiat/{name}", "", ""))
    sheet(root / "DatasetB.xlsx", *table)
    return expected


def plain(root):
    for name in ("a.png", "b.jpg", "deeper/a.png"):
        picture(root / name)
        mask((root / name).with_name((root / name).stem + "_mask.png"), box=None if name == "b.jpg" else (4, 4, 10, 10))
    return [(name, "", f"folder/{name}", "", "") for name in ("a.png", "b.jpg", "deeper/a.png")]


SETS = [busi, bus_bra, bus_uclm, breast, udiat, plain]
PLACED = {"plain": "folder"}  # name of the layout where it is not that of the function
