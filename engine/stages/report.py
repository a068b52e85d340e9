"""The report stage: writes report.md with its picture, and report.html.

It reads the run's events, plan and configuration, makes a document of sections, and writes that in both formats.
`nanosolo report` writes the same for a run in any state.
"""

import time

from engine import __version__
from engine.core.atomic_io import write_atomically
from engine.report.curves import curves_section
from engine.report.document import Document, Pictures
from engine.report.incidents import incidents_section
from engine.report.markdown import OVERVIEW, markdown
from engine.report.measured import comparison_section
from engine.report.page import page
from engine.report.results import results_section
from engine.report.settings_section import configuration_section, repeat_section, versions_section
from engine.report.source import Source, read_source
from engine.report.stage_sections import stages_section
from engine.report.summary_section import state_words, tiles, verdict
from engine.report.texts import samples_section, talks_section
from engine.run.directory import RunDirectory
from engine.run.stage_context import StageContext

SECTIONS = (
    stages_section,
    comparison_section,
    curves_section,
    results_section,
    samples_section,
    talks_section,
    incidents_section,
    configuration_section,
    versions_section,
    repeat_section,
)


def write_report(context: StageContext) -> None:
    """The report stage."""
    render(context.run)


def render(run: RunDirectory) -> str:
    """Write report.md, its picture and report.html into the run, and return the Markdown. Raises NanosoloError."""
    document = report_of(read_source(run))
    text = markdown(document)
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Pictures) and block.overview:
                write_atomically(run.path / OVERVIEW, block.overview)
    write_atomically(run.report_file, text.encode())
    write_atomically(run.page_file, page(document).encode())
    return text


def report_of(source: Source) -> Document:
    """The report as a document. The same run always gives the same document, except for the time of writing."""
    state, tone, _ = state_words(source)
    sections = [section for make in SECTIONS if (section := make(source)) is not None]
    moment = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(source.now))
    written = f"Written {moment} by nanosolo {__version__}."
    return Document(source.name, state, tone, verdict(source), tiles(source), tuple(sections), written)
