//! The country and continent codes that a rule may name.
//!
//! A code that no source ever gives (`UK`, `GER`, `de`) would make a rule that silently never matches.

use super::facts::{Continent, Country};

/// ISO 3166-1 alpha-2, and `XK` (Kosovo), which geo sources use too.
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC \
    CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD \
    GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH \
    KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW \
    MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC \
    SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY \
    UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

const CONTINENTS: &str = "AF AN AS EU NA OC SA";

const EUROPEAN_UNION: &str = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK";

/// The country that a rule names: upper-case ISO 3166-1 alpha-2, `XX` (unknown) or `T1` (Tor).
///
/// # Errors
/// What is wrong with the code, and the code that was probably meant.
pub fn country(code: &str) -> Result<Country, CodeError> {
    let upper = code.to_ascii_uppercase();
    let known = upper == "XX" || upper == "T1" || listed(COUNTRIES, &upper);
    match Country::new(&upper) {
        Some(country) if known && upper == code => Ok(country),
        Some(_) if known => Err(CodeError::new(
            "country codes are upper-case",
            &format!("write \"{upper}\""),
        )),
        Some(_) => Err(CodeError::new(
            format!("there is no country \"{code}\""),
            match upper.as_str() {
                "UK" => "the United Kingdom is \"GB\"",
                "EL" => "Greece is \"GR\"",
                "EU" => "the European Union is `ip.src.is_in_european_union`, Europe is `ip.src.continent eq \"EU\"`",
                "ZZ" => "an unknown country is \"XX\"",
                _ => "countries are ISO 3166-1 alpha-2 codes such as \"DE\"; \"XX\" is unknown",
            },
        )),
        None => Err(CodeError::new(
            format!("\"{code}\" is not a country code"),
            "countries are two letters (ISO 3166-1 alpha-2), such as \"DE\"; \"XX\" is unknown",
        )),
    }
}

/// The continent that a rule names: `AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`, or `XX` (unknown).
///
/// # Errors
/// What is wrong with the code, and the codes there are.
pub fn continent(code: &str) -> Result<Continent, CodeError> {
    let upper = code.to_ascii_uppercase();
    let known = upper == "XX" || listed(CONTINENTS, &upper);
    match Continent::new(&upper) {
        Some(continent) if known && upper == code => Ok(continent),
        Some(_) if known => Err(CodeError::new(
            "continent codes are upper-case",
            &format!("write \"{upper}\""),
        )),
        Some(_) if upper == "T1" => Err(CodeError::new(
            "Tor is on no continent",
            "compare the country: `ip.src.country eq \"T1\"`",
        )),
        Some(_) | None => Err(CodeError::new(
            format!("there is no continent \"{code}\""),
            "continents are AF, AN (Antarctica), AS, EU, NA (North America), OC, SA and XX (unknown)",
        )),
    }
}

/// Whether the country is a member of the European Union.
pub fn is_in_european_union(country: Country) -> bool {
    listed(EUROPEAN_UNION, country.as_str())
}

fn listed(codes: &str, code: &str) -> bool {
    codes.split(' ').any(|listed| listed == code)
}

/// A code that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {help}")]
pub struct CodeError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl CodeError {
    fn new(message: impl Into<String>, help: &str) -> Self {
        Self {
            message: message.into(),
            help: help.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_no_source_gives_are_faults_with_the_right_code() {
        let fault = |code| country(code).expect_err("no such country").to_string();
        assert_eq!(fault("de"), "country codes are upper-case; write \"DE\"");
        assert_eq!(fault("UK"), "there is no country \"UK\"; the United Kingdom is \"GB\"");
        assert!(fault("GER").starts_with("\"GER\" is not a country code"));
        assert!(fault("QQ").starts_with("there is no country \"QQ\""));
        assert!(country("DE").is_ok() && country("XX").is_ok() && country("T1").is_ok());
    }

    #[test]
    fn the_union_has_27_members() {
        assert_eq!(EUROPEAN_UNION.split(' ').count(), 27);
        assert!(EUROPEAN_UNION.split(' ').all(|code| country(code).is_ok()));
        assert_eq!(COUNTRIES.split(' ').count(), 250);
    }

    #[test]
    fn continents_are_seven() {
        assert!(continent("EU").is_ok());
        assert!(continent("eu").is_err_and(|e| e.help == "write \"EU\""));
        assert!(continent("DE").is_err());
    }
}
