"""The format of an exported file, which is a section in the form of `export`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}


class OutputOptions(BaseModel):
    """How the file looks. The defaults are plain CSV."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    delimiter: Literal["comma", "semicolon", "tab"] = Field(
        default="comma", description="Character between two columns."
    )
    header: bool = Field(default=True, description="Begin with a line of column names.")
    max_rows: int = Field(
        default=100_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of rows. Further rows are left out, and the log says so.",
    )

    @property
    def separator(self) -> str:
        """The delimiter as a character."""
        return DELIMITERS[self.delimiter]
