"""Count how often the built-in model repeats itself, with two sets of repetition penalties.

    python -m bench.repetition > repetition.json

Each of 50 prompts is answered once with each set, with the same seed. A reply repeats itself if more than 30 % of its
runs of four words occurred before in it. Four replies run at a time, as many as the engine computes together. It takes
about ten minutes on one core.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from typing import Any

from acytoo.providers.embedded import Embedded

SETS: dict[str, dict[str, float]] = {
    "last 64 tokens, 1.05": {"repeat_last_n": 64, "repeat_penalty": 1.05},
    "last 512 tokens, 1.1": {"repeat_last_n": 512, "repeat_penalty": 1.1},
}

PROMPTS = """
Hello, how are you?
Who are you?
Write a joke.
Write a story about a lighthouse.
Write a poem about autumn.
Write a haiku about the sea.
What is the capital of France?
Name five rivers in Europe.
List ten animals that live in Africa.
List 20 healthy breakfast ideas.
Count from 1 to 30.
Say the alphabet.
Explain photosynthesis to a child.
How does a bicycle stay upright?
Why is the sky blue?
What is the difference between a virus and a bacterium?
Explain recursion with an example.
Write a Python function that reverses a string.
Write a Python program that prints the first 20 prime numbers.
Write an SQL query that finds duplicate rows.
Write a bash script that counts the lines of all files in a folder.
Write a JSON document that describes a book.
Make a table of three planets with mass and distance.
Give me a recipe for pancakes.
Plan a week of dinners for two people.
Plan a three-day trip to Rome.
How do I learn to play the guitar?
How can I sleep better?
Give me advice for a job interview.
Write an email that asks for a day off.
Write a cover letter for a baker.
Write a review of a film you like.
Summarise the story of Romeo and Juliet.
Describe the water cycle.
What happened in the year 1969?
Who was Marie Curie?
Explain the theory of relativity in detail.
Write a long essay about the history of the Roman Empire.
Write a dialogue between a cat and a dog.
Write the lyrics of a song about trains.
Translate into French: I would like a cup of tea, please.
Translate into Spanish: Where is the station?
Is it better to live in a city or in the country?
What are the advantages and disadvantages of electric cars?
How many legs do three spiders have together?
What is 17 times 24? Think step by step.
Make up ten names for a coffee shop.
Write a product description for a wooden chair.
Give me a detailed outline of a book about gardening.
What is the meaning of life?
""".strip().splitlines()


def repeated_share(text: str) -> float:
    """Return the share of the text's runs of four words that occurred before in it."""
    words = text.split()
    runs = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


async def _answer(prompt: str, seed: int, penalties: dict[str, float], slots: asyncio.Semaphore) -> dict[str, Any]:
    async with slots:
        reply = await Embedded(timeout=600).reply(
            [{"role": "user", "content": prompt}], temperature=0.5, seed=seed, extra_body=penalties
        )
    tokens = reply.usage.output_tokens if reply.usage else None
    return {
        "prompt": prompt,
        "tokens": tokens,
        "finish": reply.finish_reason,
        "repeated": round(repeated_share(reply.text), 3),
        "text": reply.text,
    }


async def main() -> None:
    """Print the replies as JSON, and a summary on stderr."""
    results: dict[str, list[dict[str, Any]]] = {}
    slots = asyncio.Semaphore(4)
    for name, penalties in SETS.items():
        answers = [_answer(prompt, seed, penalties, slots) for seed, prompt in enumerate(PROMPTS)]
        rows = results[name] = await asyncio.gather(*answers)
        limited = sum(row["finish"] == "length" for row in rows)
        repeats = sum(row["repeated"] > 0.3 for row in rows)
        tokens = [row["tokens"] for row in rows]
        repeated = statistics.mean(row["repeated"] for row in rows)
        print(
            f"{name}: {repeats} of {len(rows)} repeat themselves, {limited} reach the limit, "
            f"{sum(tokens)} tokens, median {statistics.median(tokens)}, repeated runs {repeated:.0%}",
            file=sys.stderr,
        )
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
