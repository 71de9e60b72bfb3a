"""Exports of token folders: the same token bodies, under the names and with the indexes that other trainers expect.

One file a format; `formats` is the table of them, `publish` checks, describes and publishes.
"""

from stages.tokenize.exports.formats import FORMATS
from stages.tokenize.exports.publish import Exported, export

__all__ = ["FORMATS", "Exported", "export"]
