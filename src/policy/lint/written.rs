//! The tables of the rules files as they are written, for whoever points into them.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::policy::{
    fault::{Faults, Place, Source},
    lang::{Environment, located::Located},
    rule::Rule,
    rules::spans,
    table::{self, FromToml, Placed, Table, Value},
};

/// Documents of rules files, parsed again.
pub(super) struct Documents<'s>(Vec<(&'s Arc<Source>, Spanned<DeTable<'s>>)>);

impl<'s> Documents<'s> {
    /// The files of a policy, which load.
    pub(super) fn parse(sources: &'s [Arc<Source>]) -> Self {
        let parsed = sources
            .iter()
            .map(|source| (source, table::parse(source, &mut Faults::new())));
        Self(parsed.collect())
    }
}

/// A table's file, and where in it the table begins.
type TableId = (*const Source, usize);

/// Every table of rules, by where it stands.
pub(super) struct Written<'d> {
    tables: HashMap<TableId, (&'d Arc<Source>, &'d DeTable<'d>, Place)>,
    /// `[list.NAME]`, with the place of its name.
    pub(super) lists: Vec<(String, Place, Place)>,
    located: RefCell<HashMap<TableId, Option<Arc<Expression>>>>,
}

/// What `expression` says, with its places.
pub(super) struct Expression {
    pub(super) root: Located,
    written: Placed<String>,
    /// White space before the text that was compiled.
    skipped: usize,
}

impl Expression {
    /// The place of a stretch of the expression in the file.
    pub(super) fn place(&self, span: &std::ops::Range<usize>) -> Place {
        let span = span.start + self.skipped..span.end + self.skipped;
        spans::inside(&self.written.place, &self.written.value, span)
    }
}

impl<'d> Written<'d> {
    pub(super) fn new(documents: &'d Documents<'_>) -> Self {
        let mut tables = HashMap::new();
        let mut lists = Vec::new();
        for (source, document) in &documents.0 {
            let arrays = document.get_ref().iter();
            for (key, value) in arrays {
                match value.get_ref() {
                    DeValue::Array(items) => {
                        for item in items {
                            if let DeValue::Table(table) = item.get_ref() {
                                let place = Place::new(source, item.span());
                                tables.insert((Arc::as_ptr(source), item.span().start), (*source, table, place));
                            }
                        }
                    }
                    DeValue::Table(named) if key.get_ref() == "list" => {
                        lists.extend(named.iter().map(|(name, table)| {
                            let place = Place::new(source, name.span());
                            (name.get_ref().to_string(), place, Place::new(source, table.span()))
                        }));
                    }
                    _ => {}
                }
            }
        }
        Self {
            tables,
            lists,
            located: RefCell::default(),
        }
    }

    /// The table that a rule was written in.
    pub(super) fn table(&self, rule: &Rule) -> Option<Table<'d>> {
        let key = (Arc::as_ptr(&rule.place.source), rule.place.span.start);
        let (source, table, place) = self.tables.get(&key)?;
        Some(Table::new(source, rule.kind.as_str(), place.span.clone(), table))
    }

    /// The value of a key of a rule's table.
    pub(super) fn value(&self, rule: &Rule, key: &'static str) -> Option<Value<'d>> {
        self.table(rule)?.value(key)
    }

    /// What a key of a rule's table says, with its place.
    pub(super) fn read<T: FromToml>(&self, rule: &Rule, key: &'static str) -> Option<T> {
        T::from_toml(self.value(rule, key)?, &mut Faults::new())
    }

    /// The elements of an array of a rule's table; none when it is not written.
    pub(super) fn items(&self, rule: &Rule, key: &'static str) -> Vec<Value<'d>> {
        let value = self.value(rule, key);
        value
            .and_then(|value| value.array(&mut Faults::new()))
            .unwrap_or_default()
    }

    /// The expression of a `[[rule]]`, with its places.
    pub(super) fn expression(&self, rule: &Rule, environment: &Environment<'_>) -> Option<Arc<Expression>> {
        let key = (Arc::as_ptr(&rule.place.source), rule.place.span.start);
        if let Some(known) = self.located.borrow().get(&key) {
            return known.clone();
        }
        let read = self.read::<Placed<String>>(rule, "expression").and_then(|written| {
            let text = written.value.trim();
            let skipped = written.value.len() - written.value.trim_start().len();
            let root = Located::read(text, environment)?;
            Some(Arc::new(Expression { root, written, skipped }))
        });
        self.located.borrow_mut().insert(key, read.clone());
        read
    }
}
