"""Sources of images: bags, folders, videos and data sets, opened by one function."""

from scal3r_ros.io.sources.opening import open_source
from scal3r_ros.io.sources.source import Source, SourceOptions

__all__ = ["Source", "SourceOptions", "open_source"]
