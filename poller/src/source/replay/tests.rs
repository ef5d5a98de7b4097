use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;

/// 2023-03-04T00:00Z.
const FIRST: i64 = 1_677_888_000_000;

fn read(text: &str) -> Result<Recording, RecordingError> {
    Recording::read(text.as_bytes())
}

fn instant(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

#[test]
fn a_row_is_valid_from_its_time_until_the_next_row() {
    let recording = read("ts_ms,price,volume\n1677888060000,100.10,1\n1677888120000,100.2,1\n").unwrap();
    assert_eq!(recording.at(instant(FIRST + 59_999)), Err(Failure::Missing));
    for (at, price, time) in
        [(60_000, "100.10", 60_000), (119_999, "100.10", 60_000), (900_000, "100.2", 120_000)]
    {
        let sample = recording.at(instant(FIRST + at)).unwrap();
        assert_eq!(
            (sample.reported.last.unwrap().to_string().as_str(), sample.trade_time),
            (price, Some(instant(FIRST + time)))
        );
    }
    assert_eq!(recording.span(), (instant(FIRST + 60_000), instant(FIRST + 120_000)));
}

#[test]
fn invalid_recordings_are_refused_with_the_row() {
    let header = "ts_ms,price\n";
    assert!(matches!(read("price,ts_ms\n1,2\n"), Err(RecordingError::Header)));
    assert!(matches!(read(header), Err(RecordingError::Empty)));
    let broken = |rows: &str| read(&format!("{header}1677888060000,1\n{rows}")).unwrap_err();
    assert!(matches!(broken("1677888059999,1\n"), RecordingError::Order { row: 2 }));
    for price in ["0", "-1", "NaN", "1e5", "", "0.000000000000001"] {
        assert!(
            matches!(broken(&format!("1677888070000,{price}\n")), RecordingError::Price { row: 2, .. }),
            "{price}"
        );
    }
    for time in ["-1", "soon", "1.5", "99999999999999999999"] {
        assert!(matches!(broken(&format!("{time},1\n")), RecordingError::Time { row: 2, .. }), "{time}");
    }
    assert!(matches!(broken("1677888070000,1,2,3\n"), RecordingError::Csv(_)));
    assert!(matches!(Recording::load(Path::new("/nowhere.csv")), Err(RecordingError::Io(_))));
}

#[test]
fn the_last_of_several_rows_with_the_same_time_counts() {
    let text =
        "ts_ms,price\n1677888060000,1\n1677888060000,3\n1677888060000,2\n1677888060001,4\n1677888060001,5\n";
    let recording = read(text).unwrap();
    let price =
        |at| recording.at(instant(FIRST + at)).map(|sample| sample.reported.last.unwrap().to_string());
    assert_eq!(price(59_999), Err(Failure::Missing));
    assert_eq!([price(60_000), price(60_001)], [Ok("2".to_owned()), Ok("5".to_owned())]);
    assert_eq!(recording.span(), (instant(FIRST + 60_000), instant(FIRST + 60_001)));
}

#[test]
fn an_export_is_a_recording() {
    let text = "slot,price,sequence\n2023-03-04T00:01:00.000Z,100.10,7\n2023-03-04T00:02:00.000Z,0.0000000000001,9\n";
    let recording = read(text).unwrap();
    let expected = [(60_000, "100.10"), (120_000, "0.0000000000001")];
    for (at, price) in expected {
        let sample = recording.at(instant(FIRST + at)).unwrap();
        assert_eq!(
            (sample.reported.last.unwrap().to_string().as_str(), sample.trade_time),
            (price, Some(instant(FIRST + at)))
        );
    }
    // The slots between two rows had no price.
    for at in [59_999, 60_001, 119_999, 120_001] {
        assert_eq!(recording.at(instant(FIRST + at)), Err(Failure::Missing), "{at}");
    }
    for time in ["1677888060000", "2023-03-04 00:01", ""] {
        let refused = read(&format!("slot,price\n{time},1\n")).unwrap_err();
        assert!(
            matches!(refused, RecordingError::Time { row: 1, column: TimeColumn::Slot, .. }),
            "{time}: {refused}"
        );
    }
}

#[test]
fn times_in_seconds_are_not_taken_for_january_1970() {
    for time in ["1677888060", "999999999999", "0"] {
        let refused = read(&format!("ts_ms,price\n{time},1\n")).unwrap_err();
        assert!(matches!(&refused, RecordingError::Seconds { row: 1, text } if text == time), "{refused}");
    }
    assert!(read("ts_ms,price\n1000000000000,1\n").is_ok());
}

#[test]
fn all_parts_of_a_concatenated_gzip_file_are_read() {
    let compressed = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let parts = [compressed("ts_ms,price\n1677888060000,1\n"), compressed("1677888120000,2\n")];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("joined.csv.gz");
    std::fs::write(&path, parts.concat()).unwrap();
    let recording = Recording::load(&path).unwrap();
    assert_eq!(recording.span(), (instant(FIRST + 60_000), instant(FIRST + 120_000)));
}
