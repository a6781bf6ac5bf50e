//! `[[hotlink]]`: files that only pages of one's own may embed.
//!
//! ```toml
//! [[hotlink]]
//! id = "images"
//! extensions = ["gif", "jpg", "png", "webp"]
//! allow_referers = ["partner.example"]    # hosts, with their subdomains
//! allow_empty_referer = true              # the default: what sends no Referer is let by
//! except = ["/hotlink-ok/*"]              # URLs, as in [[lockdown]]
//! ```
//!
//! One's own hosts are the request's own and those that the site names. Browsers say themselves whether a page of another
//! site embeds (`Sec-Fetch-Site`): then that decides, and following a link (`Sec-Fetch-Dest: document`) is no hotlink.
//! Without it the host of the Referer decides; it is parsed, never searched for a substring.

use crate::policy::{
    decision::Reason,
    fault::{Fault, Faults},
    normalize::HostName,
    rule::{Action, Kind, Phase},
    site::HostPattern,
    table::{FromToml, Placed, Table, Value},
};

use super::{
    Entry, RuleEnvironment,
    common::{Common, Part, no_action},
    text::{Condition, quoted},
    urls::{self, UrlPattern},
};

/// What the entry reads of a path, headers and Referer.
const EXTENSION: &str = "http.request.uri.path.extension";
const FETCH_SITE: &str = r#"http.request.headers["sec-fetch-site"][0]"#;
const FETCH_DEST: &str = r#"http.request.headers["sec-fetch-dest"][0]"#;
const REFERER_HOST: &str = "portcullis.referer.host";

pub(super) fn read(mut table: Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Entry> {
    let common = Common::read(Kind::Hotlink, &mut table, faults);
    no_action(&mut table, "it blocks what foreign pages embed", faults);
    let example = "extensions = [\"gif\", \"jpg\", \"png\"]";
    let extensions: Option<Vec<Extension>> = table.required("extensions", example, faults);
    if extensions.as_ref().is_some_and(Vec::is_empty) {
        let place = table.key_place("extensions").unwrap_or_else(|| table.place());
        faults.push(Fault::error(place, "`extensions` is empty").expected("expected at least one extension"));
    }
    let referers: Vec<Placed<Referer>> = table.or("allow_referers", Vec::new(), faults);
    let allow_empty = table.or("allow_empty_referer", true, faults);
    let except: Vec<UrlPattern> = table.or("except", Vec::new(), faults);
    table.finish(faults);
    let extensions: Vec<String> = extensions?.iter().map(|extension| quoted(&extension.0)).collect();
    let protected = Condition::one_of(EXTENSION, &extensions)?.and(urls::condition(&except).map(Condition::not));
    let part = Part {
        suffix: "",
        phase: Phase::Hotlink,
        reason: Reason::Hotlink,
        action: Action::Block,
        condition: protected.and(foreign(&referers, allow_empty)),
    };
    common.entry(vec![part], env, faults)
}

/// The condition that a foreign page embeds.
fn foreign(referers: &[Placed<Referer>], allow_empty: bool) -> Option<Condition> {
    let own = Condition::single("portcullis.referer.is_own");
    let allowed = referers.iter().flat_map(|referer| {
        let name = referer.value.0.as_str();
        [
            Condition::single(format!("{REFERER_HOST} eq {}", quoted(name))),
            Condition::single(format!("ends_with({REFERER_HOST}, {})", quoted(&format!(".{name}")))),
        ]
    });
    let not_allowed = Condition::any_of(std::iter::once(own).chain(allowed))?.not();
    let by_browser = Condition::all_of([
        Condition::single(format!("{FETCH_SITE} eq \"cross-site\"")),
        Condition::single(format!("{FETCH_DEST} eq \"document\"")).not(),
        not_allowed.clone(),
    ])?;
    // A missing header is absent: `ne` is false then, and its `not` true.
    let no_browser_word = Condition::single(format!("{FETCH_SITE} ne \"\"")).not();
    let has_referer = allow_empty.then(|| Condition::single(format!("{REFERER_HOST} ne \"\"")));
    let by_referer = no_browser_word.and(has_referer).and(Some(not_allowed));
    Condition::any_of([by_browser, by_referer])
}

/// A file name's extension, in lower case.
struct Extension(String);

impl FromToml for Extension {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let plain = text.trim_start_matches(['*', '.']);
        let valid = !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if valid {
            return Some(Self(text.to_ascii_lowercase()));
        }
        let fault = value.invalid(
            format!("`{text}` is no extension"),
            "letters and digits, without the dot",
        );
        faults.push(match plain.is_empty() || plain == text {
            true => fault,
            false => fault.help(format!("write \"{plain}\"")),
        });
        None
    }
}

/// A host that may embed, and those below it.
struct Referer(HostName);

impl FromToml for Referer {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        match HostPattern::from_toml(value, faults)? {
            HostPattern::Exact(name) => Some(Self(name)),
            HostPattern::Below(name) => {
                faults.push(
                    value
                        .invalid(format!("`*.{name}` in `allow_referers`"), "a host without `*`")
                        .help(format!("write \"{name}\": the hosts below it are included")),
                );
                None
            }
            HostPattern::Any => {
                faults.push(
                    value
                        .invalid("`*` in `allow_referers` allows every page", "a host")
                        .help("leave the entry out altogether if every page may embed"),
                );
                None
            }
        }
    }
}
