//! Questions with one answer.

use std::fmt::Write as _;

use super::client::{Client, print_json, refused};
use super::set_aside::place;
use super::{CountsArgs, ExplainArgs, TopArgs};
use crate::cli::CliError;
use crate::cli::stdout::print;
use crate::cli::table::{Align, Style, Table, grouped, money, time};
use crate::convert::wire;

/// The metrics as columns, after some others.
const METRIC_COLUMNS: [(&str, Align); 8] = [
    ("received", Align::Right),
    ("duplicates", Align::Right),
    ("gross", Align::Right),
    ("invalid", Align::Right),
    ("clicks", Align::Right),
    ("users", Align::Right),
    ("spend", Align::Right),
    ("invalid spend", Align::Right),
];

fn metric_cells(metrics: &wire::Metrics, users_known: bool) -> [String; 8] {
    let users = if users_known { grouped(metrics.unique_users) } else { "-".to_string() };
    [
        grouped(metrics.received),
        grouped(metrics.duplicates),
        grouped(metrics.gross_clicks),
        grouped(metrics.invalid_clicks),
        grouped(metrics.clicks),
        users,
        money(metrics.spend_micros),
        money(metrics.invalid_spend_micros),
    ]
}

/// `query counts`: all pages.
pub(super) async fn counts(mut client: Client, args: CountsArgs, json: bool) -> Result<(), CliError> {
    let mut request = wire::GetCountsRequest {
        ad_ids: args.ads,
        start_ms: args.range.start,
        end_ms: args.range.end,
        granularity: args.windows.to_wire(),
        read: args.at.to_wire(),
        ..Default::default()
    };
    let columns = [
        &[("ad", Align::Left), ("window", Align::Left)],
        &METRIC_COLUMNS[..],
        &[("state", Align::Left), ("rev", Align::Right)],
    ];
    let mut table = Table::new(&columns.concat());
    loop {
        let answer = client.stub.get_counts(client.request(request.clone())).await.map_err(refused)?.into_inner();
        if json {
            print_json(&answer)?;
        }
        for row in answer.rows {
            let state = row.state().as_str_name().to_lowercase();
            let metrics = metric_cells(&row.metrics.unwrap_or_default(), true);
            let key = [row.ad_id, time(row.window_start_ms)];
            table.row(key.into_iter().chain(metrics).chain([state, row.revision.to_string()]).collect());
        }
        if answer.next_page_token.is_empty() {
            let snapshot = answer.snapshot.unwrap_or_default();
            return if json { Ok(()) } else { print(&(table.render(Style::for_stdout()) + &at_epoch(&snapshot))) };
        }
        request.page_token = answer.next_page_token;
    }
}

/// `query top`.
pub(super) async fn top(mut client: Client, args: TopArgs, json: bool) -> Result<(), CliError> {
    let request = wire::ListTopAdsRequest {
        start_ms: args.range.start,
        end_ms: args.range.end,
        order_by: args.order_by,
        limit: args.limit,
        read: args.at.to_wire(),
    };
    let answer = client.stub.list_top_ads(client.request(request)).await.map_err(refused)?.into_inner();
    if json {
        return print_json(&answer);
    }
    let columns = [&[("#", Align::Right), ("ad", Align::Left)], &METRIC_COLUMNS[..]];
    let mut table = Table::new(&columns.concat());
    for (place, ad) in answer.ads.into_iter().enumerate() {
        let metrics = metric_cells(&ad.metrics.unwrap_or_default(), ad.unique_users_known);
        table.row([(place + 1).to_string(), ad.ad_id].into_iter().chain(metrics).collect());
    }
    print(&(table.render(Style::for_stdout()) + &at_epoch(&answer.snapshot.unwrap_or_default())))
}

/// `query status`.
pub(super) async fn status(mut client: Client, json: bool) -> Result<(), CliError> {
    let request = client.request(wire::GetStatusRequest {});
    let status = client.stub.get_status(request).await.map_err(refused)?.into_inner();
    if json {
        return print_json(&status);
    }
    let snapshot = status.snapshot.clone().unwrap_or_default();
    let mut table = Table::new(&[("", Align::Left), ("", Align::Right)]);
    let mut line = |name: &str, value: String| table.row(vec![name.to_string(), value]);
    line("readable epochs", format!("[{}, {})", snapshot.since, snapshot.upper));
    line("watermark", watermark(&snapshot));
    line("records in", grouped(status.records_in));
    line("  received", grouped(status.received));
    line("  verdicts", grouped(status.verdicts));
    for (name, total, by_reason) in [
        ("parked", status.parked, &status.parked_by_reason),
        ("quarantined", status.quarantined, &status.quarantined_by_reason),
    ] {
        line(&format!("  {name}"), grouped(total));
        let mut reasons: Vec<_> = by_reason.iter().collect();
        reasons.sort();
        for (reason, &records) in reasons {
            line(&format!("    {reason}"), grouped(records));
        }
    }
    line("conflicting copies", grouped(status.conflicting_copies));
    line("unknown fields", grouped(status.unknown_fields));
    for position in &snapshot.positions {
        line(&format!("{} [{}] next", position.source, position.partition), grouped(position.next_offset));
    }
    // A list of names and values needs no heading.
    print(&table.render(Style::Plain).lines().skip(2).map(|line| format!("{line}\n")).collect::<String>())
}

/// `query explain`.
pub(super) async fn explain(mut client: Client, args: ExplainArgs, json: bool) -> Result<(), CliError> {
    let request = wire::ExplainCountRequest {
        ad_id: args.ad,
        granularity: args.windows.to_wire(),
        window_start_ms: args.window_start,
        read: args.at.to_wire(),
        limit: args.limit,
    };
    let answer = client.stub.explain_count(client.request(request)).await.map_err(refused)?.into_inner();
    if json {
        return print_json(&answer);
    }
    let Some(row) = &answer.row else {
        return print("there is no such row\n");
    };
    let metrics = row.metrics.unwrap_or_default();
    let mut text = format!(
        "{} {} from {}: {} clicks, {} invalid, {} duplicates; {} revisions\n\n",
        row.ad_id,
        row.granularity().as_str_name().to_lowercase(),
        time(row.window_start_ms),
        grouped(metrics.clicks),
        grouped(metrics.invalid_clicks),
        grouped(metrics.duplicates),
        row.revision
    );
    text += &clicks_table(&answer.clicks);
    if !answer.revisions.is_empty() {
        text += "\n";
        text += &revisions_table(&answer.revisions);
    }
    print(&(text + &at_epoch(&answer.snapshot.unwrap_or_default())))
}

fn clicks_table(clicks: &[wire::ClickEvidence]) -> String {
    let columns = [
        ("click", Align::Left),
        ("time", Align::Left),
        ("user", Align::Left),
        ("price", Align::Right),
        ("copies", Align::Right),
        ("verdict", Align::Left),
        ("read at", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for click in clicks {
        let verdict = match (click.invalid, click.verdicts.is_empty()) {
            (true, _) => format!("INVALID {}", click.reason),
            (false, false) => format!("VALID {}", click.reason),
            (false, true) => click.reason.clone(),
        };
        table.row(vec![
            click.click_id.clone(),
            time(click.timestamp_ms),
            click.user_id.clone(),
            money(click.price_micros),
            click.copies.to_string(),
            verdict,
            place(click.position.as_ref()),
        ]);
    }
    table.render(Style::for_stdout())
}

/// Corrections as a table.
pub(super) fn revisions_table(corrections: &[wire::Correction]) -> String {
    let columns = [
        ("rev", Align::Right),
        ("ad", Align::Left),
        ("window", Align::Left),
        ("size", Align::Left),
        ("cause", Align::Left),
        ("clicks", Align::Right),
        ("invalid", Align::Right),
        ("spend", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for correction in corrections {
        let cause = correction.cause().as_str_name().to_lowercase();
        let after = correction.after.clone().unwrap_or_default();
        let size = after.granularity().as_str_name().to_lowercase();
        let was = correction.before.clone().unwrap_or_default().metrics.unwrap_or_default();
        let is = after.metrics.unwrap_or_default();
        table.row(vec![
            after.revision.to_string(),
            after.ad_id,
            time(after.window_start_ms),
            size,
            cause,
            step(was.clicks, is.clicks, grouped),
            step(was.invalid_clicks, is.invalid_clicks, grouped),
            step(was.spend_micros, is.spend_micros, money),
        ]);
    }
    table.render(Style::for_stdout())
}

fn step(was: i64, is: i64, show: impl Fn(i64) -> String) -> String {
    match was == is {
        true => show(is),
        false => format!("{} -> {}", show(was), show(is)),
    }
}

fn at_epoch(snapshot: &wire::Snapshot) -> String {
    let mut text = String::new();
    writeln!(text, "\nas of epoch {}, watermark {}", snapshot.as_of, watermark(snapshot))
        .expect("a string takes all that is written");
    text
}

fn watermark(snapshot: &wire::Snapshot) -> String {
    match snapshot.watermark_ms {
        0 => "none yet".to_string(),
        watermark_ms => time(watermark_ms),
    }
}
