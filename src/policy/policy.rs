//! The compiled policy: every rule of every file, in the order in which it is asked, and the lists they refer to.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fault::{Fault, Faults, Place, Source},
    lang::{GeoKnown, reads::HeaderRead},
    list::{List, Lists},
    phases::Order,
    plan::{Plan, PlanStats},
    rule::{Kind, Phase, Rule, RuleId, SkipTarget, Timestamp},
    rules::{self, Entry, RuleEnvironment, lists},
    site::SiteFacts,
    stated::{self, MOST_TESTS, StatedTest},
    table::{self, Placed, Table},
};

/// All rules and lists of one load, compiled and immutable.
#[derive(Debug)]
pub struct Policy {
    pub(super) rules: Vec<Rule>,
    pub(super) order: Order,
    pub(super) plan: Plan,
    lists: Lists,
    list_origins: BTreeMap<String, ListOrigin>,
    header_reads: HeaderReads,
    pub(super) sources: Box<[Arc<Source>]>,
    tests: Vec<StatedTest>,
}

/// Where a list is written.
#[derive(Debug, Clone)]
pub struct ListOrigin {
    /// Its table's name.
    pub place: Place,
    /// The file that holds its entries, as written.
    pub file: Option<String>,
}

/// The headers that enabled rules look at.
#[derive(Debug, Default)]
struct HeaderReads {
    names: HashSet<String>,
    all: bool,
}

/// What rules are compiled against.
pub struct PolicyEnvironment<'e> {
    /// The sites, for locks that must hold on every host and for hosts that nothing serves.
    pub sites: &'e [SiteFacts],
    /// The geo facts that the configured sources give.
    pub geo: GeoKnown,
    /// Reads the files of lists.
    pub files: &'e dyn ListFiles,
    /// The lists in force: one that is written as before is the same one, and not compiled again.
    pub previous: Option<&'e Lists>,
    /// The time of the load, only to warn of rules that lapse soon.
    pub now: Timestamp,
}

/// Reads the files that lists name: the policy itself touches none.
pub trait ListFiles {
    /// The file at `path`, which is as written in the list's table.
    ///
    /// # Errors
    /// Why it cannot be read, in a few words.
    fn read(&self, path: &str) -> Result<Arc<Source>, String>;
}

impl Policy {
    /// Compiles rule files. `None` when a fault stops the load; `faults` then says why, and holds warnings in any case.
    pub fn compile(sources: &[Arc<Source>], env: &PolicyEnvironment<'_>, faults: &mut Faults) -> Option<Self> {
        let mut found = Faults::new();
        let compiled = Self::read(sources, env, &mut found);
        let stops = found.has_errors();
        faults.extend(found);
        if stops { None } else { compiled }
    }

    fn read(sources: &[Arc<Source>], env: &PolicyEnvironment<'_>, faults: &mut Faults) -> Option<Self> {
        let documents: Vec<_> = sources
            .iter()
            .map(|source| (source, read_document(source, faults)))
            .collect();
        let mut files: Vec<Table<'_>> = documents
            .iter()
            .map(|(source, document)| Table::new(source, "a rule file", document.span(), document.get_ref()))
            .collect();
        let mut list_origins = BTreeMap::new();
        let lists = read_lists(&mut files, env, &mut list_origins, faults);
        let site_names: Vec<String> = env.sites.iter().map(|site| site.name.clone()).collect();
        let environment = RuleEnvironment {
            lists: &lists,
            sites: env.sites,
            site_names: &site_names,
            geo: env.geo,
            now: env.now,
        };
        let mut entries = Vec::new();
        for file in &mut files {
            for kind in Kind::ALL {
                let tables = file.tables(kind.as_str(), faults);
                entries.extend(
                    tables
                        .into_iter()
                        .filter_map(|table| rules::read(kind, table, &environment, faults)),
                );
            }
        }
        let tests = read_tests(&mut files, env, faults);
        for file in &mut files {
            // Says that the file is meant to be without rules; `read_document` has seen to the ones that do not say so.
            let _: Option<bool> = file.optional("may_be_empty", faults);
        }
        files.into_iter().for_each(|file| file.finish(faults));
        unique_ids(&entries, faults);
        check_tests(&tests, &entries, faults);
        Some(Self {
            sources: sources.into(),
            list_origins,
            tests,
            ..Self::ordered(entries, lists, faults)
        })
    }

    /// Puts the rules in the order in which they are asked: by phase, then as written.
    fn ordered(entries: Vec<Entry>, lists: Lists, faults: &mut Faults) -> Self {
        let mut skips = Vec::new();
        let mut derived: HashSet<RuleId> = HashSet::new();
        let mut owned: Vec<(RuleId, Rule)> = Vec::new();
        for entry in entries {
            if !entry.id_is_written {
                derived.insert(entry.id.clone());
            }
            skips.extend(entry.skips.into_iter().map(|target| (entry.id.clone(), target)));
            owned.extend(entry.rules.into_iter().map(|rule| (entry.id.clone(), rule)));
        }
        owned.sort_by_key(|(_, rule)| rule.phase);
        let (ids, rules): (Vec<RuleId>, Vec<Rule>) = owned.into_iter().unzip();
        let mut by_entry: HashMap<RuleId, Vec<usize>> = HashMap::new();
        for (at, id) in ids.into_iter().enumerate() {
            by_entry.entry(id).or_default().push(at);
        }
        check_skips(&skips, &by_entry, &derived, &rules, faults);
        let order = Order::new(&rules, &by_entry);
        let header_reads = HeaderReads::of(&rules);
        let plan = Plan::new(&rules);
        Self {
            rules,
            order,
            plan,
            lists,
            list_origins: BTreeMap::new(),
            header_reads,
            sources: Box::default(),
            tests: Vec::new(),
        }
    }

    /// The requests that the rules files state, with what must come of them, in written order.
    pub fn tests(&self) -> &[StatedTest] {
        &self.tests
    }

    /// Every rule, in the order in which it is asked; disabled ones stand where they would be asked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a rule looks at the header of this name: lower case, with `-` for every mark.
    pub fn reads_header(&self, folded: &str) -> bool {
        self.header_reads.all || self.header_reads.names.contains(folded)
    }

    /// What the rules were compiled to.
    pub fn plan_stats(&self) -> PlanStats {
        self.plan.stats(&self.rules)
    }

    /// Every list.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The list that rules call `$name`.
    pub fn list(&self, name: &str) -> Option<&Arc<List>> {
        self.lists.named(name)
    }

    /// Where the list that rules call `$name` is written.
    pub fn list_origin(&self, name: &str) -> Option<&ListOrigin> {
        self.list_origins.get(name)
    }

    /// How many enabled entries each kind has; an entry that lowers to several rules counts once.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, usize)> {
        Kind::ALL.into_iter().map(|kind| {
            let of_kind = self.rules.iter().filter(|rule| rule.kind == kind && rule.enabled);
            let mut places: Vec<&Place> = of_kind.map(|rule| &rule.place).collect();
            places.dedup();
            (kind, places.len())
        })
    }
}

/// Parses a file. One in which nothing is written is a fault: an editor that empties a file before it writes it, or a full
/// disk, would otherwise open the gate with the next reload.
fn read_document<'s>(source: &'s Arc<Source>, faults: &mut Faults) -> Spanned<DeTable<'s>> {
    let mut found = Faults::new();
    let document = table::parse(source, &mut found);
    if document.get_ref().is_empty() && !found.has_errors() {
        found.push(
            Fault::error(Place::new(source, 0..0), "there is no rule in this file")
                .expected("expected at least one rule or list")
                .help("remove the file, or write `may_be_empty = true` into it"),
        );
    }
    faults.extend(found);
    document
}

impl HeaderReads {
    fn of(rules: &[Rule]) -> Self {
        let mut reads = Self::default();
        for rule in rules.iter().filter(|rule| rule.enabled) {
            rule.expression.root().headers(&mut |read| match read {
                HeaderRead::All => reads.all = true,
                HeaderRead::Named(name) => {
                    reads
                        .names
                        .insert(name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
                }
            });
        }
        reads
    }
}

fn read_tests(files: &mut [Table<'_>], env: &PolicyEnvironment<'_>, faults: &mut Faults) -> Vec<StatedTest> {
    let tables: Vec<Table<'_>> = files.iter_mut().flat_map(|file| file.tables("test", faults)).collect();
    if let Some(first) = tables.get(MOST_TESTS) {
        faults.push(
            Fault::error(first.place(), format!("there are {} tests", tables.len())).expected(format!(
                "expected {MOST_TESTS} at most: every reload waits for all of them"
            )),
        );
        return Vec::new();
    }
    let tests = tables.into_iter().map(|table| stated::read(table, env.sites, faults));
    tests.collect::<Vec<_>>().into_iter().flatten().collect()
}

/// The rules that tests name must be there, under an id that does not change with every edit.
fn check_tests(tests: &[StatedTest], entries: &[Entry], faults: &mut Faults) {
    if faults.has_errors() {
        // A rule that could not be read seems missing as well.
        return;
    }
    let written = || entries.iter().filter(|entry| entry.id_is_written);
    let ids: HashSet<&str> = written()
        .flat_map(|entry| {
            entry
                .rules
                .iter()
                .map(|rule| rule.id.as_str())
                .chain([entry.id.as_str()])
        })
        .collect();
    stated::check_rules(tests, |id| ids.contains(id), || ids.iter().copied().collect(), faults);
}

fn read_lists(
    files: &mut [Table<'_>],
    env: &PolicyEnvironment<'_>,
    origins: &mut BTreeMap<String, ListOrigin>,
    faults: &mut Faults,
) -> Lists {
    let mut lists = Lists::new();
    for file in files {
        let Some(mut tables) = file.value("list").and_then(|value| value.table("[list]", faults)) else {
            continue;
        };
        for (Placed { value: name, place }, value) in tables.named() {
            let DeValue::Table(written) = value.raw() else {
                faults.push(
                    Fault::error(place, format!("`{name}` stands in `[list]`, which holds only lists"))
                        .expected("expected the name of a list")
                        .help("write `[list.NAME]`, the list's name after the dot"),
                );
                continue;
            };
            check_list_name(&name, &place, faults);
            if let Some(ListOrigin { place: first, .. }) = origins.get(&name) {
                faults.push(
                    Fault::error(place, format!("the list `{name}` is defined twice"))
                        .expected("expected another name")
                        .help(format!("it is first defined at {first}")),
                );
                continue;
            }
            let file = written.get("file").and_then(|file| file.get_ref().as_str());
            let file = file.map(str::to_owned);
            origins.insert(name.clone(), ListOrigin { place, file });
            let list = value
                .table(&format!("[list.{name}]"), faults)
                .and_then(|table| lists::read(&name, table, env, faults));
            if let Some(list) = list {
                lists.insert(list);
            }
        }
    }
    lists
}

fn check_list_name(name: &str, place: &Place, faults: &mut Faults) {
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !valid {
        faults.push(
            Fault::error(place.clone(), format!("`{name}` is no name for a list"))
                .expected("expected a-z, 0-9 and `_`, beginning with a letter"),
        );
    }
}

/// Two rules with one id could not be told apart in logs, metrics and `skip`.
fn unique_ids(entries: &[Entry], faults: &mut Faults) {
    let mut first: HashMap<&str, &Entry> = HashMap::new();
    let ids = entries
        .iter()
        .flat_map(|entry| entry.rules.iter().map(move |rule| (rule.id.as_str(), entry)));
    let mut all: Vec<_> = ids.collect();
    all.sort_by_key(|(_, entry)| (entry.id_place.source.name.as_str(), entry.id_place.span.start));
    for (id, entry) in all {
        let Some(other) = first.insert(id, entry) else {
            continue;
        };
        let fault = match entry.id_is_written || other.id_is_written {
            true => Fault::error(entry.id_place.clone(), format!("the id `{id}` is used twice"))
                .expected("expected another id"),
            false => Fault::error(entry.id_place.clone(), "this entry is written twice")
                .expected("it says the same as another one")
                .help("remove one of them, or give each an `id`"),
        };
        faults.push(fault.help(format!("it is first used at {}", other.id_place)));
        first.insert(id, other);
    }
}

/// A skip of a rule that does not exist, or that was already asked, does nothing: surely not what was meant.
fn check_skips(
    skips: &[(RuleId, Placed<SkipTarget>)],
    by_entry: &HashMap<RuleId, Vec<usize>>,
    derived: &HashSet<RuleId>,
    rules: &[Rule],
    faults: &mut Faults,
) {
    for (by, Placed { value, place }) in skips {
        let SkipTarget::Rule(id) = value else { continue };
        let own = by_entry.get(by).and_then(|at| at.first()).copied().unwrap_or_default();
        match by_entry.get(id).and_then(|at| at.first()) {
            Some(_) if derived.contains(id) => faults.push(
                Fault::error(place.clone(), format!("`{id}` is no written id"))
                    .expected("it changes whenever its entry does")
                    .help("give that entry an `id`, and write it here"),
            ),
            Some(at) if *at > own => {}
            Some(at) => {
                let phase = rules.get(*at).map_or(Phase::Rule, |rule| rule.phase);
                faults.push(
                    Fault::error(place.clone(), format!("`{id}` is not later than `{by}`"))
                        .expected("a skip leaves out what comes after it")
                        .help(match phase {
                            Phase::Rule => {
                                "rules are tried in written order: move the one that skips before it".to_owned()
                            }
                            phase => format!("`{id}` is asked in phase {}, before [[rule]]", phase.as_str()),
                        }),
                );
            }
            None => {
                let phases = ["lockdown", "user_agent", "hotlink"];
                let written = by_entry.keys().filter(|id| !derived.contains(*id));
                let known = written.map(RuleId::as_str).chain(phases);
                faults.push(
                    Fault::error(place.clone(), format!("there is no phase or rule `{id}`"))
                        .expected("expected a later phase, or the id of a later rule")
                        .suggest(id.as_str(), known)
                        .help("later phases: lockdown, user_agent, hotlink"),
                );
            }
        }
    }
}
