"""Sources of images: bags, folders, videos and data sets, opened by one function."""

from scal3r_ros.io.sources.opening import open_source
from scal3r_ros.io.sources.source import SampleList, Source, SourceOptions

__all__ = ["SampleList", "Source", "SourceOptions", "open_source"]
