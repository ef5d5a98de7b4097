//! `/v1/sources`: how each source performed in the last hour.

use std::{collections::BTreeMap, sync::Arc};

use common::domain::{Pair, SourceName, Verdict};
use poem_openapi::OpenApi;

use super::{State, Tag, as_of::AsOf, no_price_yet};
use crate::{
    dto::{DerivedText, Json, PairText, SourceItem, SourcePairItem, Sources, TimeText, Word},
    problem::Problem,
};
use ledger::sources::{Report, SourceStatistics};

/// The handler of the sources.
pub struct SourcesApi(pub(super) Arc<State>);

#[OpenApi(prefix_path = "/v1", tag = "Tag::Explanation")]
impl SourcesApi {
    /// Get statistics of each source over the last hour
    ///
    /// The hour ends with the newest slot that the log has reached for all pairs that are being written, and not with the
    /// current time. If that hour has more than 10,000
    /// records, the statistics begin later. `from` says where they begin. Slots in which no source was asked, because
    /// no poller was running, are not counted.
    #[oai(path = "/sources", method = "get", operation_id = "listSources")]
    async fn sources(
        &self,
        /// Use the log as it was at this position. Default: the newest position.
        at_sequence: AsOf,
    ) -> Result<Json<Sources>, Problem> {
        let (state, snapshot) = (self.0.clone(), at_sequence.snapshot);
        if let Some(report) = state.reports.known(&snapshot) {
            return Ok(Json::of(sources(&report)));
        }
        let workers = state.workers.clone();
        let report = workers.compute(move || Ok(state.reports.of(&state.store, &snapshot)?)).await?;
        report.map(|report| Json::of(sources(&report))).ok_or_else(|| no_price_yet(None, None))
    }
}

fn sources(report: &Report) -> Sources {
    Sources {
        from: TimeText(report.from),
        to: TimeText(report.to.start()),
        items: report.sources.iter().filter_map(|(source, pairs)| item(*source, pairs)).collect(),
    }
}

fn item(source: SourceName, pairs: &BTreeMap<Pair, SourceStatistics>) -> Option<SourceItem> {
    let all = pairs.values().cloned().reduce(|mut all, standing| {
        all.merge(&standing);
        all
    })?;
    let (_, slot, verdict) = all.last;
    Some(SourceItem {
        source: source.to_string(),
        slots: all.slots(),
        share_used: DerivedText(all.share_used()),
        last_slot: TimeText(slot.start()),
        last_verdict: Word(verdict),
        verdicts: counts(&all),
        pairs: pairs.iter().map(|(pair, standing)| pair_item(*pair, standing)).collect(),
    })
}

fn pair_item(pair: Pair, standing: &SourceStatistics) -> SourcePairItem {
    let (_, slot, verdict) = standing.last;
    SourcePairItem {
        pair: PairText(pair),
        slots: standing.slots(),
        share_used: DerivedText(standing.share_used()),
        last_slot: TimeText(slot.start()),
        last_verdict: Word(verdict),
        deviation: standing.deviation().map(DerivedText).into(),
        verdicts: counts(standing),
    }
}

fn counts(standing: &SourceStatistics) -> BTreeMap<String, u64> {
    let count = |(verdict, count): (&Verdict, &u64)| (verdict.to_string(), *count);
    standing.verdicts.iter().map(count).collect()
}
