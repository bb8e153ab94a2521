"""Figures that papers report, with where each was read: ATE in metres after Sim(3), and clouds against laser scans."""

from __future__ import annotations

from dataclasses import dataclass

AVERAGE = "average"


@dataclass(frozen=True)
class PublishedRow:
    """What a paper reports of a `method`: `figures` by column of the table; `source` says where it was read."""

    method: str
    source: str
    figures: dict[str, float]


@dataclass(frozen=True)
class PublishedClouds:
    """Chamfer distance, and F1 at the tolerance that the paper names, both as averages over its scenes."""

    method: str
    source: str
    chamfer_m: float
    f1: float


GIGASLAM = "Deng et al., GigaSLAM, arXiv:2503.08071v2, table 1"
SCAL3R = "Xie et al., CVPR 2026, arXiv:2604.08542, table 1, as two independent readers quote it"
SCAL3R_CLOUDS = "Xie et al., CVPR 2026, arXiv:2604.08542, table 2, as two independent readers quote it"
FOUNDATION_TUM = "Wu et al., FoundationSLAM, AAAI 2026, table 1"
FOUNDATION_EUROC = "Wu et al., FoundationSLAM, AAAI 2026, table 2"
FOUNDATION_7SCENES = "Wu et al., FoundationSLAM, AAAI 2026, table 4"
MAST3R = "Murai et al., MASt3R-SLAM, CVPR 2025, arXiv:2412.12392, table 2"
MAST3R_ETH3D = "Murai et al., MASt3R-SLAM, CVPR 2025, arXiv:2412.12392, figure 5: of the sequences that each completes"

KITTI = tuple(f"{number:02d}" for number in range(11))
TUM = ("360", "desk", "desk2", "floor", "plant", "room", "rpy", "teddy", "xyz")
EUROC = ("MH_01", "MH_02", "MH_03", "MH_04", "MH_05", "V1_01", "V1_02", "V1_03", "V2_01", "V2_02", "V2_03")
SEVEN_SCENES = ("chess", "fire", "heads", "office", "pumpkin", "redkitchen", "stairs")


def _row(method: str, source: str, columns: tuple[str, ...], text: str, average: float | None = None) -> PublishedRow:
    """A row from its figures in the order of the columns, `-` where the paper has none."""
    figures = {column: float(word) for column, word in zip(columns, text.split(), strict=True) if word != "-"}
    return PublishedRow(method, source, figures if average is None else {**figures, AVERAGE: average})


def _averages(source: str, **figures: float) -> tuple[PublishedRow, ...]:
    return tuple(PublishedRow(name.replace("_", "-"), source, {AVERAGE: value}) for name, value in figures.items())


KITTI_ROWS = (
    _row("ORB-SLAM2", GIGASLAM, KITTI, "6.03 508.34 14.76 1.02 1.57 4.04 11.16 2.19 38.85 8.39 6.63", 54.816),
    _row(
        "DROID-SLAM", GIGASLAM, KITTI, "92.10 344.60 107.61 2.38 1.00 118.50 62.47 21.78 161.60 72.32 118.70", 100.278
    ),
    _row("DPV-SLAM++", GIGASLAM, KITTI, "8.30 11.86 39.64 2.50 0.78 5.74 11.60 1.52 110.90 76.70 13.70", 25.749),
    *_averages(SCAL3R, MASt3R_SLAM=191.71, VGGT_SLAM=214.88, VGGT_Long=25.94, Scal3R=14.55),
)
TUM_ROWS = (
    _row("ORB-SLAM3", FOUNDATION_TUM, TUM, "- 0.017 0.210 - 0.034 - - - 0.009"),
    _row("DROID-SLAM", FOUNDATION_TUM, TUM, "0.111 0.018 0.042 0.021 0.016 0.049 0.026 0.048 0.012", 0.038),
    _row("VGGT-SLAM", FOUNDATION_TUM, TUM, "0.071 0.025 0.040 0.141 0.023 0.102 0.030 0.034 0.014", 0.053),
    _row("MASt3R-SLAM", FOUNDATION_TUM, TUM, "0.049 0.016 0.024 0.025 0.020 0.061 0.027 0.041 0.009", 0.030),
)
EUROC_ROWS = (
    _row("ORB-SLAM3", FOUNDATION_EUROC, EUROC, "0.071 0.067 0.071 0.082 0.060 0.015 0.020 - 0.021 0.018 -"),
    _row("DROID-SLAM", FOUNDATION_EUROC, EUROC,
         "0.013 0.014 0.022 0.043 0.043 0.037 0.012 0.020 0.017 0.013 0.014", 0.022),
    _row("MASt3R-SLAM", FOUNDATION_EUROC, EUROC,
         "0.023 0.017 0.057 0.113 0.067 0.040 0.019 0.027 0.020 0.025 0.043", 0.041),
)  # fmt: skip
SEVEN_SCENES_ROWS = (
    _row("DROID-SLAM", MAST3R, SEVEN_SCENES, "0.036 0.027 0.025 0.066 0.127 0.040 0.026", 0.049),
    _row("MASt3R-SLAM", MAST3R, SEVEN_SCENES, "0.053 0.025 0.015 0.097 0.088 0.041 0.011", 0.047),
    *_averages(FOUNDATION_7SCENES, VGGT_SLAM=0.067),
)
VKITTI_ROWS = _averages(
    SCAL3R, DROID_SLAM=2.47, MASt3R_SLAM=78.33, VGGT_SLAM=17.18, VGGT_Long=1.03, Scal3R=0.85
)  # fmt: skip
SPIRES_ROWS = _averages(
    SCAL3R, DROID_SLAM=23.97, MASt3R_SLAM=29.22, VGGT_SLAM=26.85, VGGT_Long=15.46, Scal3R=4.45
)  # fmt: skip
ETH3D_ROWS = _averages(MAST3R_ETH3D, ORB_SLAM3=0.135, DROID_SLAM=0.171, MASt3R_SLAM=0.086)
ETH3D_CLOUDS = (
    PublishedClouds("MASt3R-SLAM", SCAL3R_CLOUDS, 0.89, 0.31),
    PublishedClouds("VGGT-SLAM", SCAL3R_CLOUDS, 0.78, 0.72),
    PublishedClouds("VGGT-Long", SCAL3R_CLOUDS, 0.24, 0.84),
    PublishedClouds("Scal3R", SCAL3R_CLOUDS, 0.11, 0.91),
)
SPIRES_CLOUDS = (
    PublishedClouds("MASt3R-SLAM", SCAL3R_CLOUDS, 7.78, 0.53),
    PublishedClouds("VGGT-SLAM", SCAL3R_CLOUDS, 10.16, 0.22),
    PublishedClouds("VGGT-Long", SCAL3R_CLOUDS, 3.41, 0.80),
    PublishedClouds("Scal3R", SCAL3R_CLOUDS, 0.96, 0.96),
)
