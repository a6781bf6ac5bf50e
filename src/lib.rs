//! Portcullis: a self-hosted access gateway. Judges every request, forwards what is allowed, says why it refuses the rest.
//!
//! # A request's way
//! ```text
//! TCP accept -> PROXY protocol -> TLS (SNI) -> HTTP/1.1 | HTTP/2                                    server, tls
//!   snapshot = current()               once; a request finishes under the rules it began with       snapshot
//!   head -> host -> site -> path readings, client IP, geo -> RequestFacts   | 400, 421              gateway, geo
//!   policy.decide(&facts, &mut scratch) -> Decision                                                 policy
//!      Block -> refusal -> response    page, problem+json, JSON or text by Accept                   gateway::refusal
//!      Allow -> permit -> upstream     the permit carries what was judged; nothing else is sent     upstream
//!   record -> access log, metrics      one record a request, when the answer's body ends            telemetry
//! ```
//!
//! # The house
//! | module | owns |
//! |---|---|
//! | [`policy`] | the judge: rule kinds, expression language, evaluation order, what a host, a path and a client IP are. Pure |
//! | [`config`] | reads portcullis.toml and every file it names, all faults at once with their places |
//! | [`differences`] | what is different between two snapshots, in words |
//! | [`snapshot`] | everything compiled from one load, immutable, and the handle to the one in force |
//! | [`promises`] | what must hold of a configuration before it is put in force: `[[test]]`, `never_block` |
//! | [`mod@reload`] | off the hot path, whole or not at all; and back, unless it is confirmed |
//! | [`gateway`] | a request's way from its head to its answer |
//! | [`upstream`] | speaks to origins |
//! | [`server`], [`tls`] | sockets, handshakes, HTTP framing, certificates |
//! | [`handover`] | listening sockets that change hands: from a service manager, or from a gateway to its successor |
//! | [`geo`] | where an address is |
//! | [`telemetry`], [`admin`] | access records, metrics, messages; health and the admin socket |
//! | [`replay`] | past traffic put to a configuration: reads logs, compares verdicts, reports |
//! | [`cli`] | the command line, one file a verb |
//! | [`http1`] | HTTP/1.1's heads, chunks and trailers, whichever side sends them |
//! | [`represent`] | which media type a client is given, and how values are escaped in it |
//!
//! Arrows point one way: `main → cli → server, replay → gateway → snapshot → config → upstream, geo, tls → policy`. `telemetry`,
//! `handover`, `http1` and `represent` are leaves; [`config::settings`] and `policy`'s types are plain values that everyone may name. `policy` uses nothing of ours, and no
//! tokio, hyper, file or clock. Live state (`snapshot`) names the gateway's compiled parts (sites, answers), which the
//! gateway reads back through it: the one place where two modules know each other.
//!
//! # Words
//! | word | meaning |
//! |---|---|
//! | origin / upstream | the application behind the gateway / a named pool of its addresses |
//! | peer, source, client IP | the socket's other end; the PROXY header's address, else the peer; who is really asking, after trusted proxies |
//! | site | a set of host names with its upstream and its answers |
//! | request facts | all a rule may know of a request, the time included |
//! | rule | id, phase, expression, action, mode, and its why: note, owner, expiry |
//! | kind / phase | a rule's table (`[[geo]]`, …) / a fixed step of the evaluation order |
//! | mode | `enforce`, or `shadow`: evaluated and counted, never acts |
//! | decision | verdict, the deciding rule, all rules that matched, shadow hits |
//! | refusal, reason | what a blocked client gets; its machine-readable cause |
//! | reading | what an origin may make of a path; the decision is taken for each |
//! | list | a named set that rules refer to as `$name` |
//! | atom, clue, guard | a test of one value; what must be there for it to hold; the atoms that bring up a rule ([`policy::plan`]) |
//! | view | a policy where certain facts of requests are unknown: a verdict is one that holds whatever they are ([`policy::view`]) |
//! | snapshot | everything compiled from one load of the configuration |

pub mod admin;
pub mod cli;
pub mod config;
pub mod differences;
pub mod gateway;
pub mod geo;
pub mod handover;
pub mod http1;
pub mod policy;
pub mod promises;
pub mod reload;
pub mod replay;
pub mod represent;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod upstream;
