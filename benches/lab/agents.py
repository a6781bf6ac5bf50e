"""Real user agents and patterns of crawlers, taken from published packages and never kept here.

Runs in the virtual environment that benches/run fills, so that nothing else depends on those packages; writes a folder:
rules.toml (a [[user_agent]] rule a pattern), patterns.json, browsers.txt, real.txt, base.txt (browsers that no pattern
matches), load.txt (those with their version numbers varied) and sources.json.
"""

import argparse
import importlib.metadata
import importlib.resources
import json
import pathlib
import random
import re

PATTERNS = 2000
BROWSERS = 20
REAL_CRAWLERS, REAL_BROWSERS = 400, 100
# HAProxy caches what its patterns said of 10,000 strings: more than that must come along.
LOAD, BASE = 20_000, 500
VERSION = r"(Chrome|CriOS|Edg|Firefox|FxiOS|GSA|OPR|Version)/(\d+)[\d.]*"
PACKAGES = ("crawler-user-agents", "crawlerdetect", "fake-useragent")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(2000)
    crawlers, strings = crawler_user_agents()
    browsers = browsers_by_frequency()
    found = usable(crawlers + crawlerdetect(), browsers)
    dice.shuffle(found)
    patterns = found[:PATTERNS]
    real = len(patterns)
    patterns += invented(PATTERNS - real, dice)
    strings = sorted(string for string in strings if string.isascii() and string.isprintable())
    write(folder, patterns, browsers, dice.sample(strings, REAL_CRAWLERS) + dice.sample(browsers, REAL_BROWSERS), dice)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    sources = {"packages": versions, "patterns": real, "invented_patterns": PATTERNS - real,
               "literal_patterns": sum(literal for _, literal in patterns), "crawler_strings": len(strings)}
    (folder / "sources.json").write_text(json.dumps(sources))


def crawler_user_agents():
    """Patterns, and strings that crawlers were seen with."""
    entries = json.loads(data("crawleruseragents", "crawler-user-agents.json"))
    return [entry["pattern"] for entry in entries], {string for entry in entries for string in entry["instances"]}


def crawlerdetect():
    from crawlerdetect.providers import crawlers

    return list(crawlers.data)


def browsers_by_frequency():
    rows = [json.loads(line) for line in data("fake_useragent", "data/browsers.jsonl").splitlines()]
    rows.sort(key=lambda row: -row["percent"])
    return list(dict.fromkeys(row["useragent"] for row in rows))


def data(package, path):
    return (importlib.resources.files(package) / path).read_text(encoding="utf-8")


def usable(patterns, browsers):
    """(text, is literal) without repetitions: what is linear-time, and would not refuse everybody."""
    everybody = "\n".join(browsers)
    found = {}
    for pattern in patterns:
        text = unescaped(pattern)
        literal = text is not None
        text = text if literal else pattern
        foreign = re.search(r"\(\?[!=<]|\\[1-9]", pattern) or not text.isascii() or not text.isprintable()
        if foreign or re.search(pattern, everybody, re.IGNORECASE | re.MULTILINE):
            continue
        found.setdefault(text.lower(), (text, literal))
    return list(found.values())


def unescaped(pattern):
    """The text that a regular expression stands for, when it is nothing but a text."""
    text = re.sub(r"\\([^\w\s])", lambda match: f"\0{ord(match[1]):02x}", pattern)
    if re.search(r"[\\^$.|?*+()\[\]{}]", text):
        return None
    return re.sub("\0(..)", lambda match: chr(int(match[1], 16)), text)


def invented(count, dice):
    """Names that complete the patterns, when the packages hold too few."""
    syllables = ["ba", "cor", "dex", "fi", "gra", "ho", "jin", "ka", "lum", "mo", "net", "ori", "pul", "ra", "sem", "tiv"]
    return [("".join(dice.choices(syllables, k=4)).capitalize() + f"Bot{number}", True) for number in range(count)]


def write(folder, patterns, browsers, real, dice):
    rules = ""
    for number, (text, literal) in enumerate(patterns):
        # A JSON string is a TOML one too.
        key = f"contains = [{json.dumps(text)}]" if literal else f"matches = [{json.dumps('(?i)' + text)}]"
        rules += f'[[user_agent]]\nid = "p{number}"\naction = "block"\n{key}\n'
    (folder / "rules.toml").write_text(rules)
    (folder / "patterns.json").write_text(json.dumps(patterns))
    lines(folder / "browsers.txt", browsers[:BROWSERS])
    lines(folder / "real.txt", real)
    base = [string for string in browsers if re.search(VERSION, string)][:BASE]
    lines(folder / "base.txt", base)
    lines(folder / "load.txt", varied(base, dice))


def varied(base, dice):
    """Every string in as many versions as it takes."""
    found = {}
    while len(found) < LOAD:
        for string in base:
            build = f".0.{dice.randrange(7000)}.{dice.randrange(200)}"
            found[re.sub(VERSION, rf"\1/\2{build}", string)] = None
    return dice.sample(list(found), LOAD)


def lines(path, strings):
    path.write_text("".join(string + "\n" for string in strings))


if __name__ == "__main__":
    main()
