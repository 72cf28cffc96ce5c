"""Reports as realizations: they are built again when a run that they compare is another, and only then."""

from __future__ import annotations

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.types import Report, Trained


@stage(Report, name="comparison")
def comparison(
    build: Build,
    *,
    runs: list[Trained],
    labels: list[dict[str, str | int | float | bool | None]],
    title: str,
    text: str = "",
    metrics: list[str] | None = None,
    markdown: RefPath = output("report.md"),
    html: RefPath = output("report.html"),
    table: RefPath = output("report.json"),
    pictures: RefPath = output("pictures"),
) -> None:
    """Compare trained models: a table with the best of each task, charts, and learning curves.

    `labels` has, for each run, what tells it from the others: its task, its learning rate, its seed. Runs that differ
    in `seed` alone are told by mean and standard deviation. `metrics` are the numbers to look at; by default, those
    that all runs have. `text` stands in front, paragraphs parted by empty lines. See `stagedml.ml.report`.
    """
    from stagedml.ml.report import CannotCompare, compare, read_run, write_report

    if len(runs) != len(labels):
        raise CannotCompare(f"there are {len(runs)} runs and {len(labels)} labels; give one for each run")
    write_report(
        compare(
            title,
            text,
            [
                read_run(own, build.path(run.metrics), build.path(run.protocol))
                for run, own in zip(runs, labels, strict=True)
            ],
            metrics or (),
        ),
        markdown=build.path(markdown),
        html=build.path(html),
        table=build.path(table),
        pictures=build.path(pictures),
    )
