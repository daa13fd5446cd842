import com.hazelcast.jet.json.JsonUtil;
import java.io.IOException;
import java.io.Serializable;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/** One transaction on its way through the pipeline: what came, what was looked up, what the model said. */
final class Scoring implements Serializable {
    private static final DateTimeFormatter DATE = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss");
    private static final double EARTH_KM = 6371.0087714;

    private final Map<String, Object> transaction;
    private final LocalDateTime when;
    private final Map<String, Integer> codes = new HashMap<>();
    private Features.Merchant merchant;
    private Features.Customer customer;
    private long label;
    private float probability;
    private double distance;

    Scoring(String json) throws IOException {
        transaction = JsonUtil.mapFrom(json);
        when = LocalDateTime.parse((String) transaction.get("transaction_date"), DATE);
    }

    long card() {
        return ((Number) transaction.get("cc_num")).longValue();
    }

    String merchantName() {
        return (String) transaction.get("merchant");
    }

    /** The value of a categorical feature as its dictionary has it. */
    String category(String dictionary) {
        return switch (dictionary) {
            case "gender" -> customer.gender();
            case "zip" -> customer.zip();
            case "job" -> customer.job();
            case "setting" -> customer.setting();
            case "age-group" -> customer.ageGroup();
            case "transaction_hour" -> String.format("%02d", when.getHour());
            case "transaction_month" -> String.valueOf(when.getMonthValue());
            case "transaction_weekday" -> String.valueOf(when.getDayOfWeek().getValue() - 1);
            default -> throw new IllegalArgumentException(dictionary);
        };
    }

    Scoring with(String dictionary, int code) {
        codes.put(dictionary, code);
        return this;
    }

    Scoring with(Features.Merchant found) {
        merchant = found;
        return this;
    }

    Scoring with(Features.Customer found) {
        customer = found;
        distance = kilometres(customer.latitude(), customer.longitude(), number("merch_lat"), number("merch_long"));
        return this;
    }

    Scoring with(long predicted, float fraud) {
        label = predicted;
        probability = fraud;
        return this;
    }

    float[] inputs() {
        return new float[] {
            customer.cardCode(), merchant.categoryCode(), (float) number("amt"), merchant.code(),
            codes.get("transaction_weekday"), codes.get("transaction_month"), codes.get("transaction_hour"),
            codes.get("gender"), codes.get("zip"), customer.cityPopulation(), codes.get("job"), customer.age(),
            codes.get("setting"), codes.get("age-group"), (float) distance
        };
    }

    String number() {
        return (String) transaction.get("trans_num");
    }

    String answer() throws IOException {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("transaction_number", number());
        answer.put("transaction_date", transaction.get("transaction_date"));
        answer.put("is_fraud", transaction.get("is_fraud"));
        answer.put("amount", transaction.get("amt"));
        answer.put("merchant", merchantName());
        answer.put("category", merchant.category());
        answer.put("merchant_lat", transaction.get("merch_lat"));
        answer.put("merchant_lon", transaction.get("merch_long"));
        answer.put("credit_card_number", customer.maskedCard());
        answer.put("card_token", customer.token());
        answer.put("card_last4", customer.lastFour());
        answer.put("customer_name", customer.name());
        answer.put("customer_city", customer.city());
        answer.put("customer_age_group", customer.ageGroup());
        answer.put("customer_gender", customer.gender());
        answer.put("customer_lat", customer.latitude());
        answer.put("customer_lon", customer.longitude());
        answer.put("distance_from_home", distance);
        answer.put("transaction_weekday_code", codes.get("transaction_weekday"));
        answer.put("transaction_hour_code", codes.get("transaction_hour"));
        answer.put("transaction_month_code", codes.get("transaction_month"));
        answer.put("fraud_probability", probability);
        answer.put("fraud_model_prediction", label);
        return JsonUtil.toJson(answer);
    }

    private double number(String field) {
        return ((Number) transaction.get(field)).doubleValue();
    }

    private static double kilometres(double latitude, double longitude, double otherLatitude, double otherLongitude) {
        double phi = Math.toRadians(latitude), otherPhi = Math.toRadians(otherLatitude);
        double halfPhi = (otherPhi - phi) / 2, halfLambda = Math.toRadians(otherLongitude - longitude) / 2;
        double a = Math.pow(Math.sin(halfPhi), 2)
                + Math.cos(phi) * Math.cos(otherPhi) * Math.pow(Math.sin(halfLambda), 2);
        return 2 * EARTH_KM * Math.asin(Math.sqrt(Math.min(a, 1)));
    }
}
