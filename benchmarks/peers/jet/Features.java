import com.hazelcast.jet.json.JsonUtil;
import java.io.IOException;
import java.io.Serializable;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** The feature files: what is known of customers and merchants, and the dictionaries of categorical features. */
final class Features {
    private static final String TOKEN_KEY = "fraudflow-demo-key-change-me";

    final Map<String, Map<String, Integer>> codes = new HashMap<>();
    final Map<Long, Customer> customers = new HashMap<>();
    final Map<String, Merchant> merchants = new HashMap<>();

    /** A merchant with the codes that the model knows it by. */
    record Merchant(String category, int categoryCode, int code) implements Serializable {}

    /** A customer as the file has it, and as an answer shows it. */
    record Customer(
            int cardCode, String gender, String zip, int cityPopulation, String job, int age, String setting,
            String ageGroup, String maskedCard, String token, String lastFour, String name, String city,
            double latitude, double longitude) implements Serializable {}

    Features(Path folder) throws IOException, GeneralSecurityException {
        for (String name : List.of("category", "merchant", "cc_num", "gender", "zip", "job", "setting", "age-group",
                "transaction_hour", "transaction_month", "transaction_weekday")) {
            Path file = folder.resolve(name).resolve(name.replace('-', '_') + "_dict.json");
            Map<String, Integer> dictionary = new HashMap<>();
            JsonUtil.mapFrom(Files.readString(file)).forEach((k, v) -> dictionary.put(k, ((Number) v).intValue()));
            codes.put(name, dictionary);
        }
        for (Map<String, String> row : rows(folder.resolve("merchant_data.csv"))) {
            String name = row.get("merchant_name"), category = row.get("category");
            merchants.put(name, new Merchant(category, code("category", category), code("merchant", name)));
        }
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(TOKEN_KEY.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
        for (Map<String, String> row : rows(folder.resolve("customer_data.csv"))) {
            String card = row.get("cc_num"), lastFour = card.substring(card.length() - 4);
            String token = HexFormat.of().formatHex(mac.doFinal(card.getBytes(StandardCharsets.UTF_8)));
            customers.put(Long.parseLong(card), new Customer(
                    code("cc_num", card), row.get("gender"), row.get("zip"), Integer.parseInt(row.get("city_pop")),
                    row.get("job"), Integer.parseInt(row.get("age")), row.get("setting"), row.get("age_group"),
                    "*".repeat(card.length() - 4) + lastFour, token.substring(0, 32), lastFour,
                    row.get("first") + " " + row.get("last"), row.get("city"),
                    Double.parseDouble(row.get("latitude")), Double.parseDouble(row.get("longitude"))));
        }
    }

    int code(String dictionary, String value) {
        return codes.get(dictionary).get(value);
    }

    private static List<Map<String, String>> rows(Path csv) throws IOException {
        List<String> lines = Files.readAllLines(csv);
        List<String> header = fields(lines.get(0));
        List<Map<String, String>> rows = new ArrayList<>();
        for (String line : lines.subList(1, lines.size())) {
            List<String> values = fields(line);
            Map<String, String> row = new LinkedHashMap<>();
            for (int i = 0; i < header.size(); i++) {
                row.put(header.get(i), values.get(i));
            }
            rows.add(row);
        }
        return rows;
    }

    private static List<String> fields(String line) {
        List<String> fields = new ArrayList<>();
        // At the commas that have an even number of quotes behind them.
        for (String field : line.split(",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", -1)) {
            fields.add(field.startsWith("\"") ? field.substring(1, field.length() - 1) : field);
        }
        return fields;
    }
}
