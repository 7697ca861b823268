"""Data sets in the layouts in which they are published, generated.

Each function writes one and returns what its cases must be: case_id, class, group, BI-RADS category and device.
"""

import itertools

import numpy as np
import openpyxl
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
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def busi(root):
    for name in ("benign", "malignant", "normal"):
        picture(root / name / "a (1).png")
        mask(root / name / "a (1)_mask.png", box=None if name == "normal" else (4, 4, 10, 10))
    return [(f"{name}/a (1).png", name, f"{name}/a (1).png", "", "") for name in ("benign", "malignant", "normal")]


def bus_bra(root):
    cases = [
        ("bus_0001-l", "malignant", 1, 4, 3),
        ("bus_0001-r", "malignant", 1, 5, 3),
        ("bus_0007-s", "benign", 7, 2, 5),
    ]
    table, folds = ["ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX"], ["ID,Pathology,kFold,valid_1"]
    for name, kind, patient, birads, fold in cases:
        picture(root / "Images" / f"{name}.png")
        mask(root / "Masks" / f"{name.replace('bus', 'mask')}.png")
        table.append(f'{name},{patient},cyst,{kind},{birads},GE Logiq 7 @10-14MHz,20,16,left,"[4,4,6,6]"')
        folds.append(f"{name},{kind},{fold},NaN")
    (root / "bus_data.csv").write_text("\n".join(table))
    (root / "5-fold-cv.csv").write_text("\n".join(folds))
    return [
        (f"Images/{name}.png", kind, f"bus_bra/{patient}", str(birads), "GE Logiq 7 @10-14MHz")
        for name, kind, patient, birads, _ in cases
    ]


def bus_uclm(root):
    green, red = (0, 255, 0), (255, 0, 0)
    cases = [
        ("ALWI_000", "Benign", "ALWI", green, "No;No;No"),
        ("ALWI_001", "Normal", "ALWI", 0, "No;Yes;No"),
        ("CHCO_000", "Malignant", "CHCO", red, "No;No;No"),
        ("CHVI_000", "Malignant", "CHCO", red, "No;No;No"),
        ("DOPP_000", "Benign", None, green, "Yes;No;No"),
        ("TWIN_000", "Benign", None, green, "No;No;Yes"),
        ("WIDE_000", "Benign", None, green, "No;No;No"),
    ]
    table = ["\ufeffImage;Resolution;Label;Doppler;Marks;Combined"]
    for name, kind, _, colour, flags in cases:
        picture(root / "images" / f"{name}.png")
        mask(root / "masks" / f"{name}.png", colour, (40, 32) if name == "WIDE_000" else SIZE)
        table.append(f"{name}.png;20x16;{kind};{flags}")
    (root / "INFO.csv").write_text("\n".join(table), encoding="utf-8")
    return [
        (f"images/{name}.png", kind.lower(), f"bus_uclm/{patient}", "", "Siemens ACUSON S2000")
        for name, kind, patient, _, _ in cases
        if patient
    ]


def breast(root):
    table = [["CaseID", "Image_filename", "Mask_tumor_filename", "Mask_other_filename", "BIRADS", "Classification"]]
    images = root / "BrEaST-Lesions_USG-images_and_masks"
    for number, birads, kind in ((1, "4a", "benign"), (2, 5, "malignant"), (45, 1, "normal")):
        name = f"case{number:03d}"
        picture(images / f"{name}.png")
        if kind != "normal":
            mask(images / f"{name}_tumor.png")
        mask(images / f"{name}_other1.png", box=(0, 0, 20, 3))
        table.append([number, f"{name}.png", f"{name}_tumor.png", f"{name}_other1.png", birads, kind])
    sheet(root / "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx", *table)
    return [
        (f"{images.name}/case001.png", "benign", "breast/case001", "4a", ""),
        (f"{images.name}/case002.png", "malignant", "breast/case002", "5", ""),
    ]


def udiat(root):
    for number in (1, 2, 3):
        picture(root / "original" / f"00000{number}.png")
        mask(root / "GT" / f"00000{number}.png")
    sheet(
        root / "DatasetB.xlsx",
        ["Image", "Type", "Diagnosis"],
        ["000001", "Benign", "CYST"],
        [2, "Malignant", "IDC"],
        [3, "benign ", "FA"],
    )
    classes = ("benign", "malignant", "benign")
    return [
        (f"original/{number:06d}.png", kind, f"udiat/{number:06d}", "", "")
        for number, kind in enumerate(classes, start=1)
    ]


def plain(root):
    for name in ("a.png", "b.jpg", "deeper/a.png"):
        picture(root / name)
        mask((root / name).with_name((root / name).stem + "_mask.png"), box=None if name == "b.jpg" else (4, 4, 10, 10))
    return [(name, "", f"folder/{name}", "", "") for name in ("a.png", "b.jpg", "deeper/a.png")]


SETS = [busi, bus_bra, bus_uclm, breast, udiat, plain]
PLACED = {"plain": "folder"}  # name of the layout where it is not that of the function
