//! The continent of each country (ISO 3166-1 alpha-2), for sources that give countries alone.
//!
//! Countries on two continents are where GeoNames, and so most geo files, put them.

use crate::policy::facts::{Continent, Country};

const TABLE: [(&str, &str); 7] = [
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE \
         NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AP AZ BD BH BN BT CC CN CY GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP \
         OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CZ DE DK EE ES EU FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK \
         MT NL NO PL PT RO RS RU SE SI SJ SK SM UA UK VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT \
         US VC VG VI",
    ),
    (
        "OC",
        "AS AU CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    ),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// The continent of a country; unknown for codes that are no country.
pub(super) fn of(country: Country) -> Continent {
    let [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] = *country.as_str().as_bytes() else {
        return Continent::UNKNOWN;
    };
    let row = BY_CODE.get(usize::from(code_index(a, b))).copied().unwrap_or(0);
    TABLE
        .get(usize::from(row).wrapping_sub(1))
        .and_then(|(continent, _)| Continent::new(continent))
        .unwrap_or(Continent::UNKNOWN)
}

/// For each of the 26 × 26 codes the row of its continent, from 1; 0 for none.
static BY_CODE: [u8; 26 * 26] = rows_by_code();

const fn code_index(a: u8, b: u8) -> u16 {
    (a - b'A') as u16 * 26 + (b - b'A') as u16
}

const fn rows_by_code() -> [u8; 26 * 26] {
    let mut by_code = [0; 26 * 26];
    let mut row = 0;
    while row < TABLE.len() {
        let countries = TABLE[row].1.as_bytes();
        let mut at = 0;
        while at + 1 < countries.len() {
            by_code[code_index(countries[at], countries[at + 1]) as usize] = row as u8 + 1;
            at += "XX ".len();
        }
        row += 1;
    }
    by_code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn continent(code: &str) -> String {
        of(Country::new(code).expect("a code")).as_str().to_owned()
    }

    #[test]
    fn countries_are_on_their_continents() {
        for (country, expected) in [
            ("DE", "EU"),
            ("US", "NA"),
            ("BR", "SA"),
            ("JP", "AS"),
            ("TR", "AS"),
            ("ZA", "AF"),
            ("AU", "OC"),
            ("AQ", "AN"),
            ("XX", "XX"),
            ("T1", "XX"),
        ] {
            assert_eq!(continent(country), expected, "{country}");
        }
    }

    #[test]
    fn no_country_is_on_two_continents_and_none_of_the_249_is_missing() {
        let mut all: Vec<&str> = TABLE.iter().flat_map(|(_, countries)| countries.split(' ')).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        // ISO 3166-1 has 249 codes; AP, EU, UK and XK are used by geo files beside them.
        assert_eq!(count, 249 + 4);
    }
}
