"""Never run: what a type checker says about a program that uses the package (scripts/check.sh python). A line with an expected error
has a comment that mypy would call superfluous if there were none."""

from __future__ import annotations

import qzo


def use(client: qzo.Client) -> float:
    job: qzo.FineTuningJob = client.submit({"name": "j"})
    client.submit(1)  # type: ignore[arg-type]
    job.stat  # type: ignore[attr-defined]
    client.wait(job)  # type: ignore[arg-type]
    for event in client.watch(job.name, from_sequence=2):
        event.step.train_los  # type: ignore[attr-defined]
    scores: qzo.ScoreResponse = client.score([{"text": "a"}], adapter=job.adapter)
    text: int = next(client.generate("Once"))  # type: ignore[assignment]
    for record in client.audit(method="CreateJob"):
        record.cod  # type: ignore[attr-defined]
    curve: qzo.LossCurve = client.curve(job.name)
    curve.save("a.svg").name.upper(text)  # type: ignore[call-arg]
    return scores.rows[0].probabilities[0]


async def use_async(client: qzo.AsyncClient) -> qzo.FineTuningJob:
    client.get("j").name  # type: ignore[attr-defined]
    async for event in client.watch("j"):
        event.sequence + "1"  # type: ignore[operator]
    return await client.get("j")
