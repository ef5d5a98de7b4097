use super::*;

fn read(text: &str) -> Result<Recording, RecordingError> {
    Recording::read(text.as_bytes())
}

fn instant(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

#[test]
fn a_row_stands_from_its_time_until_the_next() {
    let recording = read("ts_ms,price,volume\n60000,100.10,1\n120000,100.2,1\n").unwrap();
    assert_eq!(recording.at(instant(59_999)), Err(Failure::Missing));
    for (at, price, time) in
        [(60_000, "100.10", 60_000), (119_999, "100.10", 60_000), (900_000, "100.2", 120_000)]
    {
        let sample = recording.at(instant(at)).unwrap();
        assert_eq!((sample.price.to_string().as_str(), sample.time), (price, Some(instant(time))));
    }
    assert_eq!(recording.span(), (instant(60_000), instant(120_000)));
}

#[test]
fn what_is_no_recording_is_refused_with_its_row() {
    let header = "ts_ms,price\n";
    assert!(matches!(read("price,ts_ms\n1,2\n"), Err(RecordingError::Header)));
    assert!(matches!(read(header), Err(RecordingError::Empty)));
    let broken = |rows: &str| read(&format!("{header}60000,1\n{rows}")).unwrap_err();
    assert!(matches!(broken("60000,1\n"), RecordingError::Order { row: 2 }));
    for price in ["0", "-1", "NaN", "1e5", "", "0.0000000000001"] {
        assert!(
            matches!(broken(&format!("70000,{price}\n")), RecordingError::Price { row: 2, .. }),
            "{price}"
        );
    }
    for time in ["-1", "soon", "1.5", "99999999999999999999"] {
        assert!(matches!(broken(&format!("{time},1\n")), RecordingError::Time { row: 2, .. }), "{time}");
    }
    assert!(matches!(broken("70000,1,2,3\n"), RecordingError::Csv(_)));
    assert!(matches!(Recording::load(Path::new("/nowhere.csv")), Err(RecordingError::Io(_))));
}
