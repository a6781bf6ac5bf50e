//! Our catalogue of programs that announce themselves: which category a `User-Agent` belongs to.
//!
//! The entries are data (`user_agents.toml`, with its date and sources), compiled once into one scan. A user agent is
//! what the client says it is: a category is good for refusing those who say so, never for letting anyone in.

use std::sync::LazyLock;

use bumpalo::Bump;

use super::{
    fault::{Faults, Source},
    literal_scan::{LiteralScan, Lowered},
    table::{self, Table},
};

/// What a program that announces itself is for. When several match, the first in this order stands: a scanner that
/// also calls itself a search engine is a scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Looks for weaknesses.
    Scanner,
    /// Gathers text for language models, or reads pages on their behalf.
    AiCrawler,
    /// Measures links and rankings for marketing.
    Seo,
    /// Asks whether the site is up and fast.
    Monitoring,
    /// Keeps copies of pages.
    Archiver,
    /// Makes previews of links that people share.
    Social,
    /// Reads feeds for people.
    Feed,
    /// Builds an index that people search.
    SearchEngine,
    /// A programming library's or tool's own name.
    HttpLibrary,
}

impl Category {
    /// All of them, in order of precedence.
    pub const ALL: [Self; 9] = [
        Self::Scanner,
        Self::AiCrawler,
        Self::Seo,
        Self::Monitoring,
        Self::Archiver,
        Self::Social,
        Self::Feed,
        Self::SearchEngine,
        Self::HttpLibrary,
    ];

    /// The name in rules and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scanner => "scanner",
            Self::AiCrawler => "ai_crawler",
            Self::Seo => "seo",
            Self::Monitoring => "monitoring",
            Self::Archiver => "archiver",
            Self::Social => "social",
            Self::Feed => "feed",
            Self::SearchEngine => "search_engine",
            Self::HttpLibrary => "http_library",
        }
    }

    /// The category of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str() == name)
    }
}

/// The catalogue, compiled.
#[derive(Debug)]
pub struct Catalogue {
    literals: LiteralScan,
    categories: Vec<Category>,
}

impl Catalogue {
    /// The catalogue that this build ships. A constant that is computed once, not state: it never changes.
    pub fn shipped() -> &'static Self {
        static SHIPPED: LazyLock<Catalogue> = LazyLock::new(|| {
            let agents = Agent::shipped().expect("a test reads the shipped catalogue");
            Catalogue::compile(&agents).expect("a test compiles the shipped catalogue")
        });
        &SHIPPED
    }

    fn compile(agents: &[Agent]) -> Option<Self> {
        let texts = agents
            .iter()
            .map(|agent| agent.contains.to_ascii_lowercase().into_bytes());
        let categories = agents.iter().map(|agent| agent.category).collect();
        Some(Self {
            literals: LiteralScan::new(texts.collect())?,
            categories,
        })
    }

    /// The category of a `User-Agent` as sent; `None` when the catalogue does not know it.
    pub fn category(&self, user_agent: &[u8], arena: &Bump) -> Option<Category> {
        let mut first = None;
        self.literals.find(&Lowered::in_arena(user_agent, arena), |literal, _| {
            let category = self.categories.get(literal as usize).copied();
            first = [first, category].into_iter().flatten().min();
        });
        first
    }
}

/// One program: an entry of the data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub category: Category,
    /// What its `User-Agent` contains, letter case aside.
    pub contains: String,
    /// A public page or repository that names it.
    pub source: String,
}

impl Agent {
    /// The entries of the shipped data file, read once: a constant, not state.
    pub fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Agent>> =
            LazyLock::new(|| Agent::shipped().expect("a test reads the shipped catalogue"));
        &ALL
    }

    /// The entries of the shipped data file, in its order.
    ///
    /// # Errors
    /// What is wrong with the file; a test keeps that from being anything.
    pub fn shipped() -> Result<Vec<Self>, Faults> {
        let source = Source::new("user_agents.toml", include_str!("user_agents.toml"));
        let mut faults = Faults::new();
        let document = table::parse(&source, &mut faults);
        let mut file = Table::new(&source, "the catalogue", document.span(), document.get_ref());
        let date: Option<String> = file.required("date", "date = \"2026-11-22\"", &mut faults);
        let entries = file.tables("agent", &mut faults);
        let agents: Option<Vec<Self>> = entries
            .into_iter()
            .map(|entry| Self::read(entry, &mut faults))
            .collect();
        file.finish(&mut faults);
        match (date, agents) {
            (Some(_), Some(agents)) if !faults.has_errors() => Ok(agents),
            _ => Err(faults),
        }
    }

    fn read(mut entry: Table<'_>, faults: &mut Faults) -> Option<Self> {
        let name = entry.required("name", "name = \"Examplebot\"", faults);
        let category: Option<String> = entry.required("category", "category = \"monitoring\"", faults);
        let contains = entry.required("contains", "contains = \"examplebot\"", faults);
        let source = entry.required("source", "source = \"https://example.com/bot\"", faults);
        entry.finish(faults);
        Some(Self {
            name: name?,
            category: Category::parse(&category?)?,
            contains: contains?,
            source: source?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn category(user_agent: &str) -> Option<&'static str> {
        Catalogue::shipped()
            .category(user_agent.as_bytes(), &Bump::new())
            .map(Category::as_str)
    }

    #[test]
    fn known_programs_have_their_category() {
        for (user_agent, expected) in [
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "search_engine",
            ),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.2; +https://openai.com/gptbot",
                "ai_crawler",
            ),
            (
                "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
                "seo",
            ),
            ("sqlmap/1.8#stable (https://sqlmap.org)", "scanner"),
            ("SQLMAP", "scanner"),
            ("python-requests/2.32.3", "http_library"),
            ("curl/8.9.1", "http_library"),
            ("Java/21.0.3", "http_library"),
            ("Mozilla/5.0 SF/2.10b", "scanner"),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Claude-User/1.0; +Claude-User@anthropic.com)",
                "ai_crawler",
            ),
            (
                "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
                "monitoring",
            ),
            ("Mozilla/5.0 zgrab/0.x", "scanner"),
            (
                "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
                "social",
            ),
            (
                "Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details/archive.org_bot)",
                "archiver",
            ),
            ("Feedly/1.0 (+https://feedly.com/fetcher.html; 16 subscribers)", "feed"),
            (
                "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
                "search_engine",
            ),
        ] {
            assert_eq!(category(user_agent), Some(expected), "{user_agent}");
        }
    }

    #[test]
    fn browsers_and_nothing_have_none() {
        for user_agent in [
            "",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
            "Mozilla/5.0 (Linux; Android 15; SM-S928B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
        ] {
            assert_eq!(category(user_agent), None, "{user_agent}");
        }
    }

    #[test]
    fn of_several_the_more_suspicious_stands() {
        assert_eq!(category("Googlebot/2.1 sqlmap/1.8"), Some("scanner"));
        assert_eq!(
            category("FreshRSS/1.27 (Linux; https://freshrss.org) like Googlebot"),
            Some("feed")
        );
        assert_eq!(
            category("Mozilla/5.0 (compatible; SemrushBot-OCOB/1; +https://www.semrush.com/bot/)"),
            Some("ai_crawler")
        );
    }

    #[test]
    fn names_that_exist_only_for_robots_txt_are_no_entries() {
        let agents = Agent::shipped().expect("the shipped catalogue reads");
        for name in ["google-extended", "applebot-extended"] {
            assert!(agents.iter().all(|agent| agent.contains != name), "{name}");
        }
    }

    #[test]
    fn a_name_inside_another_name_is_not_mistaken_for_it() {
        assert_eq!(
            category("IonCrawl (https://www.ionos.de/terms-gtc/faq-crawler-en/)"),
            None
        );
        assert_eq!(category("CCBot/2.0 (https://commoncrawl.org/faq/)"), Some("ai_crawler"));
    }

    #[test]
    fn every_entry_is_complete_unique_and_long_enough_to_mean_something() {
        let agents = Agent::shipped().expect("the shipped catalogue reads");
        assert!(agents.len() >= 120, "{} entries", agents.len());
        let mut seen = std::collections::HashSet::new();
        for agent in &agents {
            assert!(
                seen.insert(agent.contains.to_ascii_lowercase()),
                "{} twice",
                agent.contains
            );
            assert!(agent.contains.len() >= 4, "{} is too short", agent.contains);
            assert!(
                !agent.name.is_empty() && agent.source.starts_with("https://"),
                "{agent:?}"
            );
        }
    }
}
