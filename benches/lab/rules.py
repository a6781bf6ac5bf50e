"""Rule sets, each in the words of every contestant, as their own manuals advise: nginx by geo, map and location, HAProxy by ACLs.

Where a peer cannot say a thing, it is left out there, so that the peer has less to do, never more: ADAPTATIONS.
"""

import dataclasses
import json
import pathlib
import re
import shutil
import tomllib

from lab import traffic

CHECKOUT = pathlib.Path(__file__).parents[2]
ADAPTATIONS = [
    "shipped rules: the checkout's rules/ as they are; on nginx and HAProxy their nearest equivalents without the shadow rules "
    "and the rule for geo.localhost; the scanners of the shipped catalogue are a map of nginx and one ACL of HAProxy",
    f"heavy rules: 100,000 networks (a fifth IPv6), {traffic.AGENT_PATTERNS} crawlers' patterns, countries, referers of images; nginx: geo "
    "blocks, map of the user agent by a regular expression each (pcre_jit on), valid_referers; HAProxy: ACL and map files, patterns "
    "that are texts by `-m sub -i`, the others by `-m reg -i`, its pattern cache as it comes",
    "countries: the same table of 60,000 blocks for all (nginx: geo, HAProxy: map_ip); without rules the peers look up none, "
    "Portcullis always does, and logs it",
    "refusals: the same page of 1 KiB from memory and Cache-Control: no-store on all; Portcullis' other headers are its own",
]
# The page of every refusal: no variables, 1 KiB.
_PAGE = "<!doctype html><html lang=en><title>Access denied</title><h1>Access denied</h1><p>This request was refused.</p>{}</html>\n"
REFUSED = _PAGE.format("<!-- " + "." * (1024 - len(_PAGE) - 7) + " -->")


@dataclasses.dataclass
class RuleSet:
    """`portcullis`: rules in TOML, or none for the files of `rule_files`; `settings` are lines of its configuration."""

    name: str
    portcullis: str | None
    rule_files: str = "rules.toml"
    settings: str = '[geoip]\ncountry = "builtin"\n'
    nginx_http: str = ""
    nginx_checks: str = ""
    nginx_locations: str = ""
    haproxy: str = ""
    # Some clients that it refuses, when networks are all that it has.
    listed: list = dataclasses.field(default_factory=list)


def none():
    return RuleSet("none", "may_be_empty = true\n")


class Files:
    """The folder of rule sets, with the lists that all contestants read."""

    def __init__(self, folder, countries):
        self.folder = folder
        folder.mkdir()
        countries.write(folder / "countries.txt", lambda block, country: f"{block[0]},{block[-1]},{country}\n")
        countries.write(folder / "countries.nginx", lambda block, country: f"{block} {country};\n")
        countries.write(folder / "countries.map", lambda block, country: f"{block} {country}\n")
        (folder / "refused.html").write_text(REFUSED)
        self.geoip = f'[geoip]\ncountry = "{folder}/countries.txt"\n'
        self.nginx_geo = f"""
    geo $country {{ default XX; include "{folder}/countries.nginx"; }}
    map $country $embargoed {{ default 0; {"".join(f"{country} 1; " for country in traffic.EMBARGOED)} }}
"""
        self.haproxy_geo = f"acl embargoed src,map_ip({folder}/countries.map,XX) -m str {' '.join(traffic.EMBARGOED)}"

    def shipped(self, lab):
        # Relative paths in rules start at the folder of the configuration.
        for name in ("rules", "lists"):
            shutil.copytree(CHECKOUT / name, lab.folder / name, dirs_exist_ok=True)
        http, checks, locations = self.nginx_shipped()
        return RuleSet("shipped", None, "../rules/*.toml", self.geoip, http, checks, locations, self.haproxy_shipped())

    def nginx_shipped(self):
        http = f"""
    geo $listed {{ default 0; 192.0.2.0/24 1; 127.0.0.66 1; }}
    geo $office {{ default 0; 203.0.113.0/24 1; }}
    map $http_user_agent $scanner {{ default 0; {nginx_texts(scanners())} }}
    {self.nginx_geo}
"""
        checks = nginx_refusals("$listed", "$embargoed", "$scanner")
        office = nginx_refusals("$listed", "$embargoed", "$office = 0")
        return http, checks, f"""
        location = /admin {{ {office} proxy_pass http://origin; }}
        location ^~ /admin/ {{ {office} proxy_pass http://origin; }}
        location ~* /\\.(git|svn|hg|env|ssh|aws|ds_store|htaccess|htpasswd) {{ {checks} return 404; }}
        location ~* /xmlrpc\\.php(/|$) {{ {checks} return 404; }}
        {nginx_images(checks, "gif|ico|jpg|jpeg|png|webp|avif|svg|mp4|pdf")}
"""

    def haproxy_shipped(self):
        (self.folder / "scanners").write_text("".join(text + "\n" for text in scanners()))
        return f"""
    acl listed src 192.0.2.0/24 127.0.0.66
    {self.haproxy_geo}
    acl hidden path_reg -i /\\.(git|svn|hg|env|ssh|aws|ds_store|htaccess|htpasswd)
    acl hidden path_reg -i /xmlrpc\\.php(/|$)
    acl admin path -i /admin
    acl admin path_beg -i /admin/
    acl office src 203.0.113.0/24
    acl scanner req.fhdr(user-agent) -m sub -i -f {self.folder}/scanners
    {haproxy_images(".gif .ico .jpg .jpeg .png .webp .avif .svg .mp4 .pdf")}
    {self.haproxy_refusal("listed or embargoed")}
    http-request deny deny_status 404 if hidden
    {self.haproxy_refusal("admin !office or !admin scanner or image referred !own")}
"""

    def heavy(self, networks, patterns):
        path = networks.write(self.folder / "listed.txt")
        found = self.filters("heavy", path, patterns, geo=True)
        found.settings = self.geoip
        found.portcullis += f'[[geo]]\nid = "embargo"\naction = "block"\ncountry = {json.dumps(traffic.EMBARGOED)}\n'
        return found

    def filters(self, name, listed, patterns, geo=False):
        """Networks of a file, patterns of user agents, referers of images; with `geo` also the peers' countries."""
        nginx_list = self.folder / "listed.nginx"
        nginx_list.write_text("".join(f"{line} 1;\n" for line in listed.read_text().splitlines()))
        http = f"""
    map_hash_max_size 8192;
    geo $listed {{ default 0; include "{nginx_list}"; }}
    map $http_user_agent $crawler {{ default 0; {nginx_patterns(patterns)} }}
    {self.nginx_geo if geo else ""}
"""
        checks = nginx_refusals("$listed", *(["$embargoed"] if geo else []), "$crawler")
        return RuleSet(
            name, portcullis_filters(listed, patterns), nginx_http=http, nginx_checks=checks,
            nginx_locations=nginx_images(checks, "jpg|png"), haproxy=self.haproxy_filters(listed, patterns, geo),
        )

    def haproxy_filters(self, listed, patterns, geo):
        for name, wanted in (("texts", True), ("regexes", False)):
            chosen = (text for text, literal in patterns if literal == wanted)
            (self.folder / name).write_text("".join(text + "\n" for text in chosen))
        return f"""
    acl listed src -f {listed}
    {self.haproxy_geo if geo else ""}
    acl crawler req.fhdr(user-agent) -m sub -i -f {self.folder}/texts
    acl crawler req.fhdr(user-agent) -m reg -i -f {self.folder}/regexes
    {haproxy_images(".jpg .png")}
    {self.haproxy_refusal(f"listed {'or embargoed' if geo else ''} or crawler or image referred !own")}
"""

    def haproxy_refusal(self, condition):
        page = f"content-type text/html file {self.folder}/refused.html hdr Cache-Control no-store"
        return f"http-request deny deny_status 403 {page} if {condition}"

    def networks_alone(self, networks):
        """A rule a network."""
        if not networks.networks:
            return none()
        name = f"networks-{len(networks.networks)}"
        listed = networks.write(self.folder / f"{name}.txt")
        nginx_list = self.folder / f"{name}.nginx"
        nginx_list.write_text("".join(f"{network} 1;\n" for network in networks.networks))
        rules = (f'[[ip_access]]\nid = "n{n}"\naction = "block"\nip = ["{network}"]\n' for n, network in enumerate(networks.networks))
        return RuleSet(
            name, "".join(rules), nginx_http=f'geo $listed {{ default 0; include "{nginx_list}"; }}',
            nginx_checks=nginx_refusals("$listed"), listed=[str(network[0]) for network in networks.networks[:50]],
            haproxy=f"acl listed src -f {listed}\n    {self.haproxy_refusal('listed')}",
        )


def scanners():
    """Texts of the shipped rule's scanners."""
    catalogue = tomllib.loads((CHECKOUT / "src/policy/user_agents.toml").read_text())
    return sorted({"sqlmap", "nikto"} | {agent["contains"] for agent in catalogue["agent"] if agent["category"] == "scanner"})


def portcullis_filters(listed, patterns):
    # A JSON string is a TOML one too.
    texts = json.dumps([text for text, literal in patterns if literal])
    regexes = json.dumps([f"(?i){text}" for text, literal in patterns if not literal])
    return f"""
[list.listed]
kind = "ip"
file = "{listed}"

[[ip_access]]
id = "listed"
action = "block"
ip = ["$listed"]

[[user_agent]]
id = "crawlers"
action = "block"
contains = {texts}
matches = {regexes}

[[hotlink]]
id = "images"
extensions = ["jpg", "png"]

"""


def nginx_patterns(patterns):
    return "".join(nginx_text(text) if literal else f'"~*{text}" 1;\n' for text, literal in patterns)


def nginx_texts(texts):
    return "".join(nginx_text(text) for text in texts)


def nginx_text(text):
    escaped = re.escape(text).replace("/", "\\/")
    return f'"~*{escaped}" 1;\n'


def nginx_refusals(*conditions):
    return "".join(f"if ({condition}) {{ add_header Cache-Control no-store always; return 403 '{REFUSED}'; }} " for condition in conditions)


def nginx_images(checks, extensions):
    return f"""
        location ~* \\.({extensions})$ {{
            {checks}
            valid_referers none {traffic.HOST};
            {nginx_refusals("$invalid_referer")}
            proxy_pass http://origin;
        }}
"""


def haproxy_images(ends):
    return f"""acl image path_end -i {ends}
    acl own req.fhdr(referer) -m beg https://{traffic.HOST}/
    acl referred req.fhdr(referer) -m found"""
