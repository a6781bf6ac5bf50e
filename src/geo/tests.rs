use super::*;
use crate::policy::network::IpRange;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/geo")
        .join(name)
}

fn settings(country: Option<GeoSource>, asn: Option<PathBuf>) -> GeoSettings {
    GeoSettings {
        country,
        asn,
        tor: None,
    }
}

fn try_load(settings: &GeoSettings) -> Result<Geo, Vec<String>> {
    let mut faults = Faults::new();
    let geo = Geo::load(settings, &GeoPlaces::default(), None, None, &mut faults);
    geo.ok_or_else(|| faults.iter().map(ToString::to_string).collect())
}

fn with_country(name: &str) -> Geo {
    try_load(&settings(Some(GeoSource::MaxMind(fixture(name))), None)).expect("the fixture loads")
}

fn with_asn(name: &str) -> Geo {
    try_load(&settings(None, Some(fixture(name)))).expect("the fixture loads")
}

fn with_ranges(text: &str) -> Result<Geo, Vec<String>> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("geo.txt");
    std::fs::write(&path, text).expect("the file is written");
    let found = try_load(&settings(Some(GeoSource::Ranges(path)), None));
    let prefix = format!("{}/", directory.path().display());
    found.map_err(|faults| faults.into_iter().map(|fault| fault.replace(&prefix, "")).collect())
}

fn place(geo: &Geo, address: &str) -> String {
    let facts = geo.facts(ip(address));
    format!("{}/{}", facts.country.as_str(), facts.continent.as_str())
}

#[test]
fn the_builtin_source_knows_assigned_addresses_and_their_continents() {
    let geo = try_load(&settings(Some(GeoSource::Builtin), None)).expect("it is always there");
    assert_eq!(place(&geo, "8.8.8.8"), "US/NA");
    assert_eq!(place(&geo, "::ffff:8.8.8.8"), "US/NA");
    assert_eq!(place(&geo, "2001:4860:4860::8888"), "US/NA");
    assert_eq!(place(&geo, "193.0.6.139"), "NL/EU");
}

#[test]
fn special_addresses_are_nowhere_whatever_the_source_says() {
    let geo =
        with_ranges("0.0.0.0,255.255.255.255,DE\n::,ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff,DE\n").expect("it loads");
    for address in [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "fe80::1",
        "::ffff:10.0.0.1",
        "2002:0a00:0001::1",
    ] {
        assert_eq!(place(&geo, address), "XX/XX", "{address}");
    }
    assert_eq!(place(&geo, "11.0.0.1"), "DE/EU");
    assert_eq!(place(&geo, "2001:db8::1"), "DE/EU");
}

#[test]
fn without_a_source_nothing_is_known_and_nothing_is_provided() {
    let geo = Geo::none();
    assert_eq!(geo.facts(ip("8.8.8.8")), GeoFacts::UNKNOWN);
    let nothing = Provides {
        country: false,
        continent: false,
        asn: false,
        tor: false,
    };
    assert_eq!(geo.provides(), nothing);
}

#[test]
fn country_layouts_of_all_vendors_are_read() {
    for name in [
        "city.mmdb",
        "country.mmdb",
        "dbip.mmdb",
        "ipinfo_lite.mmdb",
        "ipinfo_country_asn.mmdb",
    ] {
        let geo = with_country(name);
        assert_eq!(place(&geo, "192.0.2.1"), "DE/EU", "{name}");
        assert_eq!(place(&geo, "::ffff:192.0.2.1"), "DE/EU", "{name}");
        assert_eq!(place(&geo, "2002:c000:0201::1"), "DE/EU", "{name}");
        assert_eq!(place(&geo, "192.0.3.1"), "XX/XX", "{name}");
    }
    assert_eq!(place(&with_country("city.mmdb"), "2001:db8:1::9"), "FR/EU");
}

#[test]
fn asn_layouts_of_all_vendors_are_read() {
    for name in [
        "asn.mmdb",
        "ipinfo_lite.mmdb",
        "ipinfo_country_asn.mmdb",
        "ipinfo_asn.mmdb",
    ] {
        let geo = with_asn(name);
        assert_eq!(geo.facts(ip("192.0.2.1")).asn, 64496, "{name}");
        assert_eq!(geo.facts(ip("192.0.3.1")).asn, 0, "{name}");
        let described = geo.describe(ip("192.0.2.1"));
        assert_eq!(described.organization.as_deref(), Some("Example Carrier"), "{name}");
    }
}

#[test]
fn neighbouring_networks_keep_their_own_countries() {
    let geo = with_country("country.mmdb");
    for (address, expected) in [
        ("192.0.1.255", "XX/XX"),
        ("192.0.2.0", "DE/EU"),
        ("192.0.2.127", "DE/EU"),
        ("192.0.2.128", "US/NA"),
        ("192.0.2.255", "US/NA"),
        ("192.0.3.0", "XX/XX"),
        ("2001:db8:0:ffff::", "XX/XX"),
        ("2001:db8:1::", "FR/EU"),
        ("2001:db8:2::", "XX/XX"),
    ] {
        assert_eq!(place(&geo, address), expected, "{address}");
    }
}

#[test]
fn a_continent_without_a_country_is_kept() {
    assert_eq!(place(&with_country("country.mmdb"), "198.51.100.1"), "XX/AF");
}

#[test]
fn a_registered_country_is_no_location() {
    assert_eq!(place(&with_country("city.mmdb"), "2001:db8:2::1"), "XX/XX");
}

#[test]
fn files_of_the_wrong_kind_are_faults() {
    let faults = try_load(&settings(
        Some(GeoSource::MaxMind(fixture("asn.mmdb"))),
        Some(fixture("country.mmdb")),
    ))
    .expect_err("both are of the wrong kind");
    let directory = fixture("").display().to_string();
    let faults: Vec<String> = faults.into_iter().map(|fault| fault.replace(&directory, "")).collect();
    assert_eq!(
        faults,
        [
            "error: `[geoip] country`: asn.mmdb: gives no country: it is a `GeoLite2-ASN` file; an ASN file belongs in \
             `asn = …`",
            "error: `[geoip] asn`: country.mmdb: gives no autonomous system: it is a `GeoLite2-Country` file; a country or \
             city file belongs in `country = …`",
        ]
    );
}

#[test]
fn records_that_say_nonsense_are_faults() {
    let country = try_load(&settings(Some(GeoSource::MaxMind(fixture("bad_country.mmdb"))), None));
    assert!(country.is_err_and(|faults| faults.concat().contains("192.0.2.0/24: `DEU` is no country code")));
    let asn = try_load(&settings(None, Some(fixture("bad_asn.mmdb"))));
    assert!(asn.is_err_and(|faults| faults.concat().contains("192.0.2.0/24: `AS one` is no AS number")));
}

#[test]
fn a_missing_file_is_a_fault_at_its_key() {
    let source = crate::policy::fault::Source::new("portcullis.toml", "[geoip]\ncountry = \"gone.mmdb\"\n");
    let places = GeoPlaces {
        country: Some(Place::new(&source, 18..29)),
        asn: None,
    };
    let mut faults = Faults::new();
    let wanted = settings(Some(GeoSource::MaxMind("gone.mmdb".into())), None);
    assert!(Geo::load(&wanted, &places, None, None, &mut faults).is_none());
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "portcullis.toml:2:11: error: `[geoip] country`: gone.mmdb: cannot be read: No such file or directory (os error 2)"
        ]
    );
}

/// A cut or damaged file either still says the same, or is a fault; never a panic, never something else for the probes.
#[test]
fn truncated_files_are_faults() {
    let bytes = std::fs::read(fixture("country.mmdb")).expect("the fixture");
    for length in 0..bytes.len() {
        let cut = bytes.get(..length).expect("within").to_vec();
        if let Ok(found) = mmdb::countries(Path::new("cut.mmdb"), cut) {
            panic!("{length} of {} bytes load as {} ranges", bytes.len(), found.table.len());
        }
    }
}

#[test]
fn files_with_flipped_bytes_never_panic() {
    let bytes = std::fs::read(fixture("ipinfo_lite.mmdb")).expect("the fixture");
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            if let Ok(found) = mmdb::countries(Path::new("damaged.mmdb"), damaged.clone()) {
                found.table.at(ip("192.0.2.1"));
            }
            let _either_way = mmdb::networks(Path::new("damaged.mmdb"), damaged);
        }
    }
}

#[test]
fn text_ranges_are_read_in_the_layouts_that_people_have() {
    let geo = with_ranges(
        "# tor-geoipdb\n16777216,16777471,AU\n\n 2001:200::,2001:200:ffff:ffff:ffff:ffff:ffff:ffff , jp \n\
         \"192.0.2.0\",\"192.0.2.255\",\"DE\",\"Germany\"\n203.0.113.0,203.0.113.255,??\n",
    )
    .expect("it loads");
    assert_eq!(place(&geo, "1.0.0.0"), "AU/OC");
    assert_eq!(place(&geo, "1.0.0.255"), "AU/OC");
    assert_eq!(place(&geo, "1.0.1.0"), "XX/XX");
    assert_eq!(place(&geo, "2001:200:5::"), "JP/AS");
    assert_eq!(place(&geo, "192.0.2.7"), "DE/EU");
    assert_eq!(place(&geo, "203.0.113.1"), "XX/XX");
}

#[test]
fn every_bad_line_is_a_fault_at_its_field() {
    let text = "1.0.0.0,1.0.0.255,AU\n1.0.0,1.0.1.255,AU\n1.0.2.0,1.0.1.0,AU\n1.0.3.0,1.0.3.255, AUS\n1.0.4.0\n";
    let faults = with_ranges(text).expect_err("four lines are bad");
    assert_eq!(
        faults,
        [
            "geo.txt:2:1: error: `1.0.0` is no address: expected an IPv4 or IPv6 address, or an IPv4 address as a decimal \
             number",
            "geo.txt:3:1: error: 1.0.2.0 to 1.0.1.0 is no range: expected two addresses of one family, the lower first",
            "geo.txt:4:20: error: `AUS` is no country code: expected two letters, or `??` for unknown",
            "geo.txt:5:1: error: this line has fewer than three fields: expected `start,end,CC`",
        ]
    );
}

#[test]
fn ranges_that_contradict_each_other_are_a_fault() {
    let faults = with_ranges("1.0.0.128,1.0.1.0,NZ\n1.0.0.0,1.0.0.255,AU\n").expect_err("they overlap");
    assert_eq!(
        faults,
        ["geo.txt:1:1: error: this range overlaps the one of line 2: expected ranges that do not overlap"]
    );
}

#[test]
fn a_wrong_text_file_does_not_flood_the_screen() {
    let faults = with_ranges(&"nonsense\n".repeat(1000)).expect_err("all lines are bad");
    assert_eq!(faults.len(), 20);
    assert!(faults.concat().contains("980 more lines of this file are wrong"));
}

#[test]
fn empty_and_binary_text_files_are_faults() {
    assert!(with_ranges("# nothing\n").is_err_and(|faults| faults.concat().contains("has no ranges")));
    let binary = try_load(&settings(Some(GeoSource::Ranges(fixture("city.mmdb"))), None));
    assert!(binary.is_err_and(|faults| faults.concat().contains("is no text file")));
}

#[test]
fn tor_exits_replace_the_country_and_keep_continent_and_asn() {
    let exits: IpSet = ["192.0.2.7", "192.0.2.6", "127.0.0.1", "2001:db8:1::/64"]
        .map(|net| IpRange::parse(net).expect("a network"))
        .into_iter()
        .collect();
    let wanted = settings(
        Some(GeoSource::MaxMind(fixture("country.mmdb"))),
        Some(fixture("asn.mmdb")),
    );
    let mut faults = Faults::new();
    let geo = Geo::load(&wanted, &GeoPlaces::default(), Some(&exits), None, &mut faults).expect("it loads");
    assert!(geo.provides().tor);
    assert_eq!(place(&geo, "192.0.2.7"), "T1/EU");
    assert_eq!(place(&geo, "192.0.2.8"), "DE/EU");
    assert_eq!(place(&geo, "2001:db8:1::5"), "T1/EU");
    assert_eq!(place(&geo, "127.0.0.1"), "T1/XX");
    assert_eq!(geo.facts(ip("192.0.2.7")).asn, 64496);
}

#[test]
fn an_unchanged_file_is_taken_from_the_previous_load() {
    let wanted = settings(None, Some(fixture("asn.mmdb")));
    let first = try_load(&wanted).expect("it loads");
    let mut faults = Faults::new();
    let second = Geo::load(&wanted, &GeoPlaces::default(), None, Some(&first), &mut faults).expect("it loads");
    let (Some(first), Some(second)) = (first.asn, second.asn) else {
        panic!("both have the file");
    };
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn sources_say_what_they_are_and_when_they_were_built() {
    let geo = with_asn("asn.mmdb");
    assert_eq!(
        geo.sources(),
        [SourceReport {
            key: "asn",
            name: fixture("asn.mmdb").display().to_string(),
            label: "GeoLite2-ASN".to_owned(),
            built: Some(Timestamp(1_767_225_600)),
        }]
    );
}
