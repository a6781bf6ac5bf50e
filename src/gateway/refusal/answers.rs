//! A site's answers, compiled once per load: its pages, its documents and what it pretends not to have.

use std::sync::Arc;

use super::{
    template::{Format, Template},
    values::Values,
};
use crate::{
    config::settings::{DEFAULT_REFUSAL, Disclose, NotFound, Site},
    policy::{
        fault::{Fault, Source},
        rule::RefusalStatus,
    },
};

/// The shipped page, which is also the example to start one's own from.
pub const SHIPPED_PAGE: &str = include_str!("../../../pages/403.html");

/// How one site refuses.
#[derive(Debug)]
pub struct SiteAnswers {
    pub(super) page: Page,
    pub(super) document: Option<Template>,
    pub(super) not_found: NotFound,
    pub(super) status: RefusalStatus,
    pub(super) disclose: Disclose,
    pub(super) error_docs: Option<String>,
}

/// A refusal page.
#[derive(Debug)]
pub(super) enum Page {
    /// Ours: served with a policy that forbids everything but its own style.
    Shipped(Template),
    /// The operator's, with whatever it loads, and ours for what it fails on.
    Own { own: Template, shipped: Template },
}

impl SiteAnswers {
    /// Compiles a site's answers. `html` and `json` are the texts of `site.html_page` and `site.json_page`, if named.
    pub fn compile(site: &Site, html: Option<&Arc<Source>>, json: Option<&Arc<Source>>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let page = keep(html.map(|source| Template::compile(source, Format::Html)), &mut faults);
        let document = keep(json.map(|source| Template::compile(source, Format::Json)), &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let shipped = shipped_page();
        Ok(Self {
            page: match page {
                Some(own) => Page::Own { own, shipped },
                None => Page::Shipped(shipped),
            },
            document,
            not_found: site.not_found.clone(),
            status: site.status,
            disclose: site.disclose,
            error_docs: site.error_docs.clone(),
        })
    }

    /// The answers to requests that no site can be found for: the shipped page, 403, the reason.
    pub fn shipped() -> Self {
        Self {
            page: Page::Shipped(shipped_page()),
            document: None,
            not_found: NotFound {
                body: "Not Found\n".into(),
                content_type: http::HeaderValue::from_static("text/plain"),
                headers: Vec::new(),
            },
            status: DEFAULT_REFUSAL,
            disclose: Disclose::Reason,
            error_docs: None,
        }
    }

    /// The page, and whether it is the shipped one.
    pub(super) fn render_page(&self, values: &Values<'_>) -> (String, bool) {
        let shipped = |template: &Template| (template.render(values).unwrap_or_default(), true);
        match &self.page {
            Page::Shipped(template) => shipped(template),
            // A page may fail on what no trial could show. The refusal stands; only its looks are ours.
            Page::Own { own, shipped: ours } => own.render(values).map_or_else(|_| shipped(ours), |page| (page, false)),
        }
    }

    /// The site's own document, unless it has none or it fails.
    pub(super) fn render_document(&self, values: &Values<'_>) -> Option<Vec<u8>> {
        let document = self.document.as_ref()?.render(values).ok()?;
        Some(document.into_bytes())
    }
}

fn shipped_page() -> Template {
    let source = Source::new("pages/403.html", SHIPPED_PAGE);
    Template::compile(&source, Format::Html).expect("the shipped page compiles: a test says so")
}

fn keep<T>(result: Option<Result<T, Vec<Fault>>>, faults: &mut Vec<Fault>) -> Option<T> {
    match result? {
        Ok(value) => Some(value),
        Err(found) => {
            faults.extend(found);
            None
        }
    }
}
